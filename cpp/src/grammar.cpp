// SPDX-License-Identifier: Apache-2.0
#include "edgepose/grammar.hpp"

#include "edgepose/error.hpp"

#include <algorithm>

namespace edgepose {

std::int32_t Grammar::alphabet() const {
  if (finished()) internal_error("grammar", "asked for a slot behind the last");
  return form_->slots[place_];
}

std::span<const std::int32_t> Grammar::allowed() const noexcept {
  if (finished()) return {};
  return form_->alphabets[static_cast<std::size_t>(form_->slots[place_])].tokens;
}

std::optional<std::int32_t> Grammar::forced() const noexcept {
  const auto tokens = allowed();
  if (tokens.size() != 1) return std::nullopt;
  return tokens[0];
}

bool Grammar::accept(std::int32_t token) noexcept {
  const auto tokens = allowed();
  if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) return false;
  ++place_;
  return true;
}

void Grammar::accept_choice() {
  if (finished()) internal_error("grammar", "a choice behind the last slot");
  ++place_;
}

void Grammar::rollback(std::size_t count) {
  if (count > place_) internal_error("grammar", message("rollback of ", count, " at ", place_));
  place_ -= count;
}

}  // namespace edgepose
