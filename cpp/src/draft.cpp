// SPDX-License-Identifier: Apache-2.0
#include "edgepose/draft.hpp"

#include <algorithm>

namespace edgepose {

std::optional<std::int32_t> Draft::next() const noexcept {
  if (place_.at >= tokens_.size()) return std::nullopt;
  return tokens_[place_.at];
}

void Draft::follow(std::int32_t token, bool by_place) noexcept {
  if (next() == token) {
    ++place_.at;
    return;
  }
  place_.kept = false;
  if (!by_place) {
    const auto ahead = std::min(place_.at, tokens_.size());
    for (const std::size_t from : {ahead, std::size_t{0}}) {
      const auto rest = tokens_.subspan(from);
      const auto found = std::find(rest.begin(), rest.end(), token);
      if (found == rest.end()) continue;
      place_.at = from + static_cast<std::size_t>(found - rest.begin()) + 1;
      return;
    }
  }
  ++place_.at;
}

}  // namespace edgepose
