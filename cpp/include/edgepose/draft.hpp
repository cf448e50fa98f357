// SPDX-License-Identifier: Apache-2.0
// What this is: a guess of an answer, and the place in it that fits the answer so far.
// Contract: only ever a guess: whoever takes tokens from it asks the model about each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

// Tokens of answers, forced ones not counted.
struct DraftCount {
  std::int64_t offered = 0;   // guesses that the model was asked about, some of them again
  std::int64_t accepted = 0;  // of these, what the model said too
  std::int64_t free = 0;      // what the model said in all
};

// What a caller believes an answer will be.
struct Guess {
  std::vector<std::int32_t> tokens;
  // So many of them are offered to the first pass; the rest has to wait until these have held.
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
};

class Draft {
 public:
  struct Place {
    std::size_t at = 0;
    bool kept = true;  // the answer so far is how the draft begins
  };

  // `tokens` must outlive the draft; none for no guess.
  explicit Draft(std::span<const std::int32_t> tokens) noexcept : tokens_(tokens) {}

  // What may come next; nothing behind the last token.
  std::optional<std::int32_t> next() const noexcept;

  // The next token of the answer is this. Where it is not what was guessed, the draft goes on
  // behind the same token, the nearest one ahead or else the first; or, of a token that stands
  // there for its place alone, one place on.
  void follow(std::int32_t token, bool by_place) noexcept;

  Place place() const noexcept { return place_; }
  void rewind(Place place) noexcept { place_ = place; }

 private:
  std::span<const std::int32_t> tokens_;
  Place place_;
};

}  // namespace edgepose
