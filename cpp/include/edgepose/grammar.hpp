// SPDX-License-Identifier: Apache-2.0
// What this is: which tokens may come next in an answer of known form.
// Contract: a `Form` is data shared by all answers; a `Grammar` is one answer's place in it. A slot
// whose alphabet has one token is forced; all others are free.
#pragma once

#include "edgepose/logits.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

// An answer as a sequence of slots, each an index into `alphabets`.
struct Form {
  std::vector<Alphabet> alphabets;
  std::vector<std::int32_t> slots;
};

class Grammar {
 public:
  // `form` must outlive the grammar.
  explicit Grammar(const Form& form) : form_(&form) {}

  bool finished() const noexcept { return place_ == form_->slots.size(); }

  // Index of the alphabet that may come next. Precondition: not finished.
  std::int32_t alphabet() const;

  // Tokens that may come next; empty when finished.
  std::span<const std::int32_t> allowed() const noexcept;

  // The one token that may come next, if there is only one.
  std::optional<std::int32_t> forced() const noexcept;

  // Takes a token; false, and no change, when it is not allowed.
  bool accept(std::int32_t token) noexcept;

  // Takes whichever allowed token the backend chooses: the place after a slot does not depend on
  // it.
  void accept_choice();

  // Takes back the last `count` tokens.
  void rollback(std::size_t count);

  // Tokens taken so far.
  std::size_t place() const noexcept { return place_; }

 private:
  const Form* form_;
  std::size_t place_ = 0;
};

}  // namespace edgepose
