// SPDX-License-Identifier: Apache-2.0
#include "edgepose/digit_codec.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <utility>

namespace edgepose {

namespace {

// The alphabets of the form, in this order.
enum AlphabetIndex : std::int32_t { kDigits, kOpen, kZero, kPoint, kComma, kClose };

double power_of_ten(std::int32_t exponent) { return std::pow(10.0, exponent); }

Form make_form(const std::vector<std::int32_t>& places, const DigitTokens& tokens) {
  EDGEPOSE_CHECK(!places.empty(), BundleError, "[digit codec] at least one field; got none");
  auto alphabets = std::make_shared<const std::vector<Alphabet>>(std::vector<Alphabet>{
      Alphabet{{tokens.digits.begin(), tokens.digits.end()}},
      Alphabet{{tokens.open}},
      Alphabet{{tokens.zero}},
      Alphabet{{tokens.point}},
      Alphabet{{tokens.comma}},
      Alphabet{{tokens.close}}
  });
  std::vector<Slot> slots;
  for (const std::int32_t count : places) {
    EDGEPOSE_CHECK(
        count >= 1 && count <= 9, BundleError, "[digit codec] 1 to 9 digits a field; got ", count
    );
    slots.push_back({.alphabet = slots.empty() ? kOpen : kComma});
    slots.push_back({.alphabet = kZero});
    slots.push_back({.alphabet = kPoint});
    slots.insert(
        slots.end(), static_cast<std::size_t>(count), {.alphabet = kDigits, .number = true}
    );
  }
  slots.push_back({.alphabet = kClose});
  return {std::move(alphabets), std::move(slots)};
}

}  // namespace

DigitCodec::DigitCodec(std::vector<std::int32_t> places, const DigitTokens& tokens)
    : places_(std::move(places)), tokens_(tokens), form_(make_form(places_, tokens_)) {}

std::vector<std::int32_t> DigitCodec::encode(std::span<const double> numbers) const {
  EDGEPOSE_CHECK(
      numbers.size() == places_.size(),
      InvalidInput,
      "[digit codec] ",
      places_.size(),
      " numbers; got ",
      numbers.size()
  );
  std::vector<std::int32_t> tokens;
  for (std::size_t field = 0; field < places_.size(); ++field) {
    // Rounds the number itself, as "{:.3f}" does: its product with 1000 may lie on the other side.
    std::array<char, 16> text;  // "0." and the digits
    const double number = numbers[field];
    const bool in_range = number > -0.5 / power_of_ten(places_[field]) && number < 1;
    if (in_range) {
      std::to_chars(
          text.data(),
          text.data() + text.size(),
          std::max(0.0, number),
          std::chars_format::fixed,
          places_[field]
      );
    }
    EDGEPOSE_CHECK(
        in_range && text[0] == '0',
        InvalidInput,
        "[digit codec] a number that rounds into [0, 1) at ",
        places_[field],
        " places; got ",
        numbers[field]
    );
    tokens.push_back(field == 0 ? tokens_.open : tokens_.comma);
    tokens.push_back(tokens_.zero);
    tokens.push_back(tokens_.point);
    for (std::int32_t place = 0; place < places_[field]; ++place) {
      const char digit = text[static_cast<std::size_t>(2 + place)];
      tokens.push_back(tokens_.digits[static_cast<std::size_t>(digit - '0')]);
    }
  }
  tokens.push_back(tokens_.close);
  return tokens;
}

std::vector<Number> DigitCodec::read(const Answer& answer) const {
  EDGEPOSE_CHECK(
      answer.follows_form && answer.tokens.size() >= form_.slots().size() &&
          answer.choices.size() == answer.tokens.size(),
      DecodeError,
      "[digit codec] an answer of ",
      form_.longest(),
      " tokens in the codec's form; got one of ",
      answer.tokens.size(),
      " that is not; read its text instead"
  );
  std::vector<Number> numbers;
  std::size_t at = 0;
  for (const std::int32_t places : places_) {
    at += 3;  // opening or comma, zero, point
    // Units of the last place. Mass that leaves the chosen path at a place is spread evenly over
    // all continuations.
    double written = 0;
    double on_path = 1;
    double mean = 0;
    double second = 0;
    double unit = power_of_ten(places);
    for (std::int32_t place = 0; place < places; ++place, ++at) {
      unit /= 10;
      const auto found = std::find(tokens_.digits.begin(), tokens_.digits.end(), answer.tokens[at]);
      if (found == tokens_.digits.end()) {
        internal_error("digit codec", message("token ", answer.tokens[at], " in place of a digit"));
      }
      const auto digit = static_cast<double>(found - tokens_.digits.begin());
      const Choice& choice = answer.choices[at];
      const double stay = choice.share;
      const double leave = 1 - stay;
      // First and second moment of the other digits, weighted by their probability.
      const double other = choice.mean - stay * digit;
      const double other_square =
          choice.variance + choice.mean * choice.mean - stay * digit * digit;
      const double tail = (unit - 1) / 2;
      const double tail_square = (unit * unit - 1) / 12 + tail * tail;
      mean += on_path * (leave * (written + tail) + unit * other);
      second += on_path * (leave * (written * written + 2 * written * tail + tail_square) +
                           2 * unit * other * (written + tail) + unit * unit * other_square);
      written += unit * digit;
      on_path *= stay;
    }
    mean += on_path * written;
    second += on_path * written * written;
    const double scale = power_of_ten(places);
    const double variance = std::max(0.0, second - mean * mean) + 1.0 / 12;  // of the rounding
    numbers.push_back({written / scale, mean / scale, std::sqrt(variance) / scale});
  }
  return numbers;
}

}  // namespace edgepose
