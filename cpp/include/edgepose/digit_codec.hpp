// SPDX-License-Identifier: Apache-2.0
// What this is: numbers written as decimal text, ` [0.ddd,0.ddd]`, to and from tokens.
// Contract: one token per character; a field with r places holds k / 10^r, k in [0, 10^r).
// Source: LocLLM's answer format (`utils/valid2d.py`, `utils/valid3d.py`).
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/grammar.hpp"
#include "edgepose/number.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

// Token ids of the characters.
struct DigitTokens {
  std::int32_t open = 0;   // " ["
  std::int32_t zero = 0;   // "0" before the point
  std::int32_t point = 0;  // "."
  std::int32_t comma = 0;  // ","
  std::int32_t close = 0;  // "]"
  std::array<std::int32_t, 10> digits{};
};

class DigitCodec {
 public:
  // `places`: digits after the point of each field, 1 to 9 each.
  DigitCodec(std::vector<std::int32_t> places, const DigitTokens& tokens);

  const Form& form() const noexcept { return form_; }
  const std::vector<Alphabet>& alphabets() const noexcept { return form_.alphabets(); }
  const std::vector<std::int32_t>& places() const noexcept { return places_; }

  // Tokens of the numbers; each must round to below 1. Throws InvalidInput otherwise.
  std::vector<std::int32_t> encode(std::span<const double> numbers) const;

  // The numbers of an answer that follows the form, 0 to 1. The distribution is read along the
  // chosen path: where the model leans to another digit, the digits after it are unknown and taken
  // as uniform. Throws DecodeError when the answer does not follow the form.
  std::vector<Number> read(const Answer& answer) const;

 private:
  std::vector<std::int32_t> places_;
  DigitTokens tokens_;
  Form form_;
};

}  // namespace edgepose
