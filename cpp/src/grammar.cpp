// SPDX-License-Identifier: Apache-2.0
#include "edgepose/grammar.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <utility>

namespace edgepose {

Form::Form(Alphabets alphabets, std::vector<Slot> slots)
    : alphabets_(std::move(alphabets)), slots_(std::move(slots)) {
  const auto end = static_cast<std::int32_t>(slots_.size());
  const auto resolve = [&](std::int32_t& target, std::int32_t behind) {
    if (target == -1) target = behind;
    if (target < 0 || target > end) {
      internal_error("form", message("slot ", target, " of ", end));
    }
  };
  for (std::int32_t k = 0; k < end; ++k) {
    Slot& slot = slots_[static_cast<std::size_t>(k)];
    resolve(slot.next, k + 1);
    resolve(slot.closed, k + 1);
    const auto& tokens = alphabets_->at(static_cast<std::size_t>(slot.alphabet)).tokens;
    if (slot.echoes || slot.turn == Turn::none || slot.turn == Turn::goes_on_or_closes) continue;
    const auto count = std::ssize(tokens) - (slot.turn == Turn::opens_or_closes ? 1 : 0);
    items_ = std::max(items_, static_cast<std::int32_t>(count));
  }
  // The longest answer opens every item.
  const std::int64_t most = (items_ + 1) * (std::int64_t{end} + 1) * 2;
  for (Grammar grammar(*this); !grammar.finished(); ++longest_) {
    if (longest_ > most) internal_error("form", "an answer without end");
    if (const auto token = grammar.forced()) {
      grammar.accept(*token);
      continue;
    }
    ++looks_;
    const auto& tokens = alphabets_->at(static_cast<std::size_t>(grammar.alphabet())).tokens;
    const auto open = std::find_if(tokens.begin(), tokens.end(), [&](std::int32_t token) {
      return grammar.allows(token);
    });
    if (open == tokens.end()) internal_error("form", "a slot that allows nothing");
    grammar.accept(*open);
  }
}

Grammar::Grammar(const Form& form) : form_(&form) {
  before_.reserve(static_cast<std::size_t>(form.longest()));
  items_.reserve(static_cast<std::size_t>(form.items()));
}

const Slot& Grammar::slot() const {
  if (finished()) internal_error("grammar", "asked for a slot behind the last");
  return at();
}

std::span<const std::int32_t> Grammar::tokens() const noexcept {
  return form_->alphabets()[static_cast<std::size_t>(at().alphabet)].tokens;
}

std::int32_t Grammar::items_left() const noexcept {
  return at().echoes ? place_.opened - place_.echoed : form_->items() - place_.opened;
}

std::span<const std::int32_t> Grammar::banned() const noexcept {
  if (finished() || at().echoes) return {};
  if (at().turn != Turn::opens && at().turn != Turn::opens_or_closes) return {};
  return {items_.data(), static_cast<std::size_t>(place_.opened)};
}

bool Grammar::allows(std::int32_t token) const noexcept {
  if (finished()) return false;
  if (const auto only = forced()) return token == *only;
  const auto allowed = tokens();
  const auto taken = banned();
  return std::find(allowed.begin(), allowed.end(), token) != allowed.end() &&
         std::find(taken.begin(), taken.end(), token) == taken.end();
}

std::optional<std::int32_t> Grammar::forced() const noexcept {
  if (finished()) return std::nullopt;
  const auto all = tokens();
  if (all.size() == 1) return all[0];
  const Slot& here = at();
  if (here.turn == Turn::none) return std::nullopt;
  if (items_left() == 0) return all.back();  // nothing to do but close
  if (here.echoes) {
    return here.turn == Turn::goes_on_or_closes ? all[0]
                                                : items_[static_cast<std::size_t>(place_.echoed)];
  }
  if (here.turn == Turn::opens && items_left() == 1) {
    const auto taken = banned();
    return *std::find_if(all.begin(), all.end(), [&](std::int32_t token) {
      return std::find(taken.begin(), taken.end(), token) == taken.end();
    });
  }
  return std::nullopt;
}

bool Grammar::branches() const noexcept {
  return !finished() && at().turn != Turn::none && !forced();
}

void Grammar::advance(std::int32_t token) noexcept {
  const Slot& here = at();
  before_.push_back(place_);
  const bool may_close = here.turn == Turn::opens_or_closes || here.turn == Turn::goes_on_or_closes;
  if (may_close && token == tokens().back()) {
    place_.slot = here.closed;
    place_.echoed = 0;
    return;
  }
  if (here.turn == Turn::opens || here.turn == Turn::opens_or_closes) {
    if (here.echoes) {
      ++place_.echoed;
    } else {
      items_.resize(static_cast<std::size_t>(place_.opened));
      items_.push_back(token);
      ++place_.opened;
    }
  }
  place_.slot = here.next;
}

bool Grammar::accept(std::int32_t token) noexcept {
  if (!allows(token)) return false;
  advance(token);
  return true;
}

void Grammar::accept_choice() {
  if (finished()) internal_error("grammar", "a choice behind the last slot");
  if (branches()) internal_error("grammar", "a choice that decides what comes next");
  advance(forced().value_or(tokens()[0]));
}

void Grammar::rollback(std::size_t count) {
  if (count > place()) internal_error("grammar", message("rollback of ", count, " at ", place()));
  if (count == 0) return;
  place_ = before_[place() - count];
  before_.resize(place() - count);
}

}  // namespace edgepose
