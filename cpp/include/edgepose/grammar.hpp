// SPDX-License-Identifier: Apache-2.0
// What this is: which tokens may come next in an answer of known form.
// Contract: a `Form` is data shared by all answers; a `Grammar` is one answer's place in it. At a
// slot where one token only may come, that token is forced; all others are free. A form has at most
// one block whose items the model opens, each at most once; later blocks may echo them in order.
#pragma once

#include "edgepose/logits.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

// What the token of a slot decides beside itself.
enum class Turn : std::uint8_t {
  none,
  opens,              // every token opens an item
  opens_or_closes,    // the alphabet's last token closes the block, the others open an item
  goes_on_or_closes,  // two tokens: on to the next item, or close
};

struct Slot {
  std::int32_t alphabet = 0;
  Turn turn = Turn::none;
  bool number = false;       // its tokens stand for numbers
  bool echoes = false;       // the items are those that an earlier block opened: forced
  std::int32_t next = -1;    // slot behind it; -1 is the following one, past the last is the end
  std::int32_t closed = -1;  // the same behind the token that closes
};

// The slots of an answer, the first being where it starts. Immutable, cheap to copy.
class Form {
 public:
  using Alphabets = std::shared_ptr<const std::vector<Alphabet>>;

  // `slots`: finish whatever is chosen.
  Form(Alphabets alphabets, std::vector<Slot> slots);

  const std::vector<Alphabet>& alphabets() const noexcept { return *alphabets_; }
  const Alphabets& shared_alphabets() const noexcept { return alphabets_; }
  const std::vector<Slot>& slots() const noexcept { return slots_; }

  // How many items the model may open.
  std::int32_t items() const noexcept { return items_; }

  // Most tokens of an answer, forced ones included, and how many of these are free.
  std::int32_t longest() const noexcept { return longest_; }
  std::int32_t looks() const noexcept { return looks_; }

 private:
  Alphabets alphabets_;
  std::vector<Slot> slots_;
  std::int32_t items_ = 0;
  std::int32_t longest_ = 0;
  std::int32_t looks_ = 0;
};

class Grammar {
 public:
  // `form` must outlive the grammar. Allocates here and nowhere else.
  explicit Grammar(const Form& form);

  bool finished() const noexcept { return place_.slot == std::ssize(form_->slots()); }

  // The slot of the token that may come next. Precondition: not finished.
  const Slot& slot() const;

  // Index of that slot's alphabet.
  std::int32_t alphabet() const { return slot().alphabet; }

  // Whether a token may come next.
  bool allows(std::int32_t token) const noexcept;

  // Tokens of the alphabet that may not come next where the model chooses: items that are open.
  std::span<const std::int32_t> banned() const noexcept;

  // The one token that may come next, if there is only one.
  std::optional<std::int32_t> forced() const noexcept;

  // Whether what comes behind the next token depends on which it is: the model chooses an item, or
  // whether to close.
  bool branches() const noexcept;

  // Takes a token; false, and no change, when it is not allowed.
  bool accept(std::int32_t token) noexcept;

  // Takes whichever allowed token the backend chooses. Precondition: not a branch.
  void accept_choice();

  // Takes back the last `count` tokens.
  void rollback(std::size_t count);

  // Tokens taken so far.
  std::size_t place() const noexcept { return before_.size(); }

 private:
  struct Place {
    std::int32_t slot = 0;
    std::int32_t opened = 0;  // items
    std::int32_t echoed = 0;  // of these, in the block at hand
  };

  const Slot& at() const noexcept { return form_->slots()[static_cast<std::size_t>(place_.slot)]; }
  std::span<const std::int32_t> tokens() const noexcept;
  std::int32_t items_left() const noexcept;
  void advance(std::int32_t token) noexcept;

  const Form* form_;
  Place place_;
  std::vector<Place> before_;        // one a token taken
  std::vector<std::int32_t> items_;  // tokens that opened items; the first place_.opened count
};

}  // namespace edgepose
