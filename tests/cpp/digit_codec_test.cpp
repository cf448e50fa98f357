// SPDX-License-Identifier: Apache-2.0
#include "edgepose/digit_codec.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace edgepose {
namespace {

// Token ids of the Llama-2 tokenizer.
constexpr DigitTokens kLlama = {
    .open = 518,
    .zero = 29900,
    .point = 29889,
    .comma = 29892,
    .close = 29962,
    .digits = {29900, 29896, 29906, 29941, 29946, 29945, 29953, 29955, 29947, 29929}
};

using Tokens = std::vector<std::int32_t>;
using Digits = std::vector<std::array<double, 10>>;  // one distribution a place

// The text of tokens, one character each.
std::string text_of(const Tokens& tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token == kLlama.open) text += " [";
    if (token == kLlama.point) text += ".";
    if (token == kLlama.comma) text += ",";
    if (token == kLlama.close) text += "]";
    for (std::size_t digit = 0; digit < 10; ++digit) {
      if (token == kLlama.digits[digit]) text += std::to_string(digit);
    }
  }
  return text;
}

// An answer of one field whose digits have these distributions; each place's most probable is
// chosen.
Answer answer_of(const Digits& distributions) {
  Answer answer;
  answer.follows_form = true;
  const auto push = [&](const Choice& choice) {
    answer.choices.push_back(choice);
    answer.tokens.push_back(choice.token);
  };
  push({.token = kLlama.open, .probability = 1, .share = 1});
  push({.token = kLlama.zero, .probability = 1, .share = 1});
  push({.token = kLlama.point, .probability = 1, .share = 1});
  for (const auto& p : distributions) {
    Choice choice;
    std::size_t best = 0;
    for (std::size_t digit = 0; digit < 10; ++digit) {
      if (p[digit] > p[best]) best = digit;
      choice.mean += p[digit] * static_cast<double>(digit);
    }
    for (std::size_t digit = 0; digit < 10; ++digit) {
      const double distance = static_cast<double>(digit) - choice.mean;
      choice.variance += p[digit] * distance * distance;
    }
    choice.token = kLlama.digits[best];
    choice.share = choice.probability = p[best];
    push(choice);
  }
  push({.token = kLlama.close, .probability = 1, .share = 1});
  return answer;
}

// Enumerates the 10^places leaves: on the chosen path the given distribution, off it uniform
// digits.
Number enumerate(const Digits& distributions, const Answer& answer) {
  const std::size_t places = distributions.size();
  std::size_t leaves = 1;
  for (std::size_t place = 0; place < places; ++place) leaves *= 10;
  std::vector<double> probabilities(leaves);
  Number number;
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    double probability = 1;
    bool on_path = true;
    std::size_t unit = leaves;
    for (std::size_t place = 0; place < places; ++place) {
      unit /= 10;
      const std::size_t digit = leaf / unit % 10;
      probability *= on_path ? distributions[place][digit] : 0.1;
      on_path = on_path && kLlama.digits[digit] == answer.tokens[3 + place];
    }
    if (on_path) number.value = static_cast<double>(leaf) / static_cast<double>(leaves);
    probabilities[leaf] = probability;
    number.expected += probability * static_cast<double>(leaf);
  }
  double variance = 1.0 / 12;
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    const double distance = static_cast<double>(leaf) - number.expected;
    variance += probabilities[leaf] * distance * distance;
  }
  number.expected /= static_cast<double>(leaves);
  number.deviation = std::sqrt(variance) / static_cast<double>(leaves);
  return number;
}

TEST(DigitCodec, EncodesThePublishedVectors) {
  const DigitCodec flat({3, 3}, kLlama);
  EXPECT_EQ(
      flat.encode(std::array{0.512, 0.334}),
      (Tokens{
          518, 29900, 29889, 29945, 29896, 29906, 29892, 29900, 29889, 29941, 29941, 29946, 29962
      })
  );
  const DigitCodec deep({3, 3, 6}, kLlama);
  EXPECT_EQ(
      deep.encode(std::array{0.512, 0.334, 0.512345}),
      (Tokens{518,   29900, 29889, 29945, 29896, 29906, 29892, 29900, 29889, 29941, 29941,
              29946, 29892, 29900, 29889, 29945, 29896, 29906, 29941, 29946, 29945, 29962})
  );
}

TEST(DigitCodec, EncodesAsPrintfDoes) {
  const DigitCodec codec({3, 6}, kLlama);
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 0.9994);
  std::vector<double> numbers = {
      0.0, 0.0005, 0.0015, 0.0025, 0.5005, 0.1235, 0.9994999, 1e-9, 0.9994
  };
  while (numbers.size() < 500) numbers.push_back(uniform(random));
  // Near the middle between two texts, where a product with 1000 rounds the other way.
  for (int k = 0; k < 999; ++k) numbers.push_back((k + 0.5) / 1000);
  for (const double number : numbers) {
    char text[64];
    std::snprintf(text, sizeof text, " [%.3f,%.6f]", number, number);
    EXPECT_EQ(text_of(codec.encode(std::array{number, number})), text) << number;
  }
}

TEST(DigitCodec, RefusesNumbersThatItCannotWrite) {
  const DigitCodec codec({3}, kLlama);
  EXPECT_EQ(text_of(codec.encode(std::array{-0.0})), " [0.000]");
  EXPECT_EQ(text_of(codec.encode(std::array{-0.0004})), " [0.000]");
  EXPECT_EQ(text_of(codec.encode(std::array{0.99949})), " [0.999]");
  for (const double number :
       {-0.001,
        -1.0,
        0.9996,
        1.0,
        7.0,
        1e300,
        -1e300,
        std::nan(""),
        std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(codec.encode(std::array{number}), InvalidInput) << number;
  }
  EXPECT_THROW(codec.encode(std::array{0.5, 0.5}), InvalidInput);
  EXPECT_THROW(codec.encode(std::span<const double>()), InvalidInput);
}

TEST(DigitCodec, RefusesFieldsWithoutSense) {
  EXPECT_THROW(DigitCodec({}, kLlama), BundleError);
  EXPECT_THROW(DigitCodec({3, 0}, kLlama), BundleError);
  EXPECT_THROW(DigitCodec({10}, kLlama), BundleError);
  EXPECT_NO_THROW(DigitCodec({1, 9}, kLlama));
}

TEST(DigitCodec, FormIsTheTextItWrites) {
  for (const std::vector<std::int32_t>& places :
       {std::vector<std::int32_t>{3, 3}, {3, 3, 6}, {1}, {9, 2}}) {
    const DigitCodec codec(places, kLlama);
    Grammar grammar(codec.form());
    const std::vector<double> numbers(places.size(), 0.25);
    std::size_t free = 0;
    for (const std::int32_t token : codec.encode(numbers)) {
      if (!grammar.forced()) {
        ++free;
        EXPECT_EQ(grammar.alphabet(), 0);
        EXPECT_TRUE(grammar.slot().number);
        for (const std::int32_t digit : kLlama.digits) EXPECT_TRUE(grammar.allows(digit));
      }
      ASSERT_TRUE(grammar.accept(token));
    }
    EXPECT_TRUE(grammar.finished());
    std::size_t digits = 0;
    for (const std::int32_t count : places) digits += static_cast<std::size_t>(count);
    EXPECT_EQ(free, digits);
  }
}

TEST(DigitCodec, ReadsWhatItWrote) {
  const DigitCodec codec({3, 6}, kLlama);
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    const double x = static_cast<double>(random() % 1000) / 1000;
    const double z = static_cast<double>(random() % 1000000) / 1000000;
    Answer answer;
    answer.follows_form = true;
    answer.tokens = codec.encode(std::array{x, z});
    for (const std::int32_t token : answer.tokens) {
      const auto digit = static_cast<double>(
          std::find(kLlama.digits.begin(), kLlama.digits.end(), token) - kLlama.digits.begin()
      );
      answer.choices.push_back({.token = token, .probability = 1, .share = 1, .mean = digit});
    }
    const auto numbers = codec.read(answer);
    ASSERT_EQ(numbers.size(), 2U);
    EXPECT_EQ(numbers[0].value, x);
    EXPECT_EQ(numbers[1].value, z);
    EXPECT_NEAR(numbers[0].expected, x, 1e-12);
    EXPECT_NEAR(numbers[1].expected, z, 1e-12);
    // What is left is the rounding to the last place.
    EXPECT_NEAR(numbers[0].deviation, std::sqrt(1.0 / 12) * 1e-3, 1e-12);
    EXPECT_NEAR(numbers[1].deviation, std::sqrt(1.0 / 12) * 1e-6, 1e-9);
  }
}

TEST(DigitCodec, DistributionEqualsEnumerationOfAllNumbers) {
  std::mt19937 random(7);
  // Certainty from none to more than float32 can express.
  for (const double sharpness : {0.0, 1.0, 3.0, 8.0, 14.0, 20.0, 40.0}) {
    for (int round = 0; round < 30; ++round) {
      Digits distributions(1 + random() % 3);
      if (round % 2 == 0) distributions.resize(3);
      for (auto& p : distributions) {
        std::uniform_real_distribution<double> uniform(0, 1);
        double total = 0;
        for (double& value : p) total += value = std::exp(2 * uniform(random));
        const std::size_t peak = round % 5 == 0 ? 9 : random() % 10;
        total += p[peak] * (std::exp(sharpness) - 1);
        p[peak] *= std::exp(sharpness);
        for (double& value : p) value /= total;
      }
      const Answer answer = answer_of(distributions);
      const DigitCodec codec({static_cast<std::int32_t>(distributions.size())}, kLlama);
      const Number number = codec.read(answer).at(0);
      const Number expected = enumerate(distributions, answer);
      EXPECT_EQ(number.value, expected.value);
      EXPECT_NEAR(number.expected, expected.expected, 1e-9);
      EXPECT_NEAR(number.deviation / expected.deviation, 1, 1e-6) << "sharpness " << sharpness;
    }
  }
}

TEST(DigitCodec, ReadsFieldsApart) {
  const DigitCodec codec({3, 3}, kLlama);
  Digits sure(3);
  for (auto& p : sure) p[4] = 1;
  Digits unsure(3);
  for (auto& p : unsure) p.fill(0.1);
  const Answer first = answer_of(sure);
  const Answer second = answer_of(unsure);
  Answer both = first;
  both.tokens.pop_back();
  both.choices.pop_back();
  both.tokens.insert(both.tokens.end(), second.tokens.begin(), second.tokens.end());
  both.choices.insert(both.choices.end(), second.choices.begin(), second.choices.end());
  const auto numbers = codec.read(both);
  EXPECT_EQ(numbers[0].value, 0.444);
  EXPECT_NEAR(numbers[0].deviation, std::sqrt(1.0 / 12) * 1e-3, 1e-9);
  EXPECT_EQ(numbers[1].value, 0.0);
  EXPECT_NEAR(numbers[1].expected, 0.4995, 1e-12);
  EXPECT_NEAR(numbers[1].deviation, std::sqrt(1e6 / 12) * 1e-3, 1e-9);
}

TEST(DigitCodec, ReadsOnlyAnswersThatFollowTheForm) {
  const DigitCodec codec({1}, kLlama);
  Answer answer = answer_of(Digits(1));
  EXPECT_NO_THROW(codec.read(answer));
  answer.follows_form = false;
  EXPECT_THROW(codec.read(answer), DecodeError);
  // An answer that only says so, as Python may make it, is not read beyond its end.
  Answer brief;
  brief.follows_form = true;
  EXPECT_THROW(codec.read(brief), DecodeError);
  Answer uneven = answer_of(Digits(1));
  uneven.choices.pop_back();
  EXPECT_THROW(codec.read(uneven), DecodeError);
  Answer wrong = answer_of(Digits(1));
  wrong.tokens[3] = kLlama.close;
  EXPECT_THROW(codec.read(wrong), Error);
}

TEST(DigitCodec, IgnoresAnEndBehindTheForm) {
  const DigitCodec codec({1}, kLlama);
  Digits sure(1);
  sure[0][7] = 1;
  Answer answer = answer_of(sure);
  answer.tokens.push_back(2);
  answer.choices.push_back({.token = 2, .probability = 1});
  EXPECT_EQ(codec.read(answer).at(0).value, 0.7);
}

}  // namespace
}  // namespace edgepose
