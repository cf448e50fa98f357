// SPDX-License-Identifier: Apache-2.0
#include "edgepose/logits.hpp"

#include "edgepose/error.hpp"
#include "reference_decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace edgepose {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double plain_sum(const std::vector<float>& logits, float maximum) {
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - static_cast<double>(maximum));
  }
  return sum;
}

void expect_exact_sum(const std::vector<float>& logits, const std::string& what) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  const double expected = plain_sum(logits, maximum);
  EXPECT_NEAR(exp_sum(logits, maximum) / expected, 1.0, 1e-6)
      << what << ", " << logits.size() << " logits";
}

const std::vector<std::size_t> kSizes = {1, 2, 15, 16, 17, 31, 33, 1023, 1024, 1025, 1041, 32000};

TEST(ExpSum, EqualsDoubleArithmeticAtEveryScale) {
  std::mt19937 random(2);
  for (const std::size_t size : kSizes) {
    for (const float scale : {0.0F, 1e-6F, 0.1F, 1.0F, 10.0F, 100.0F, 1e4F, 1e30F}) {
      std::normal_distribution<float> normal(0, 1);
      std::vector<float> logits(size);
      for (float& logit : logits) logit = scale * normal(random);
      expect_exact_sum(logits, "scale " + std::to_string(scale));
    }
  }
}

// Rounding that leans to one side adds up when all terms are the same.
TEST(ExpSum, EqualsDoubleArithmeticForEqualTerms) {
  for (const std::size_t size : kSizes) {
    for (float below = 0.0F; below < 12.0F; below += 0.37F) {
      std::vector<float> logits(size, 5.0F - below);
      logits[0] = 5.0F;
      expect_exact_sum(logits, "all others " + std::to_string(below) + " below");
    }
  }
}

TEST(ExpSum, HoldsAtTheEdgesOfFloat) {
  const float lowest = std::numeric_limits<float>::lowest();
  const float largest = std::numeric_limits<float>::max();
  expect_exact_sum({0.0F, -86.9F, -87.0F, -87.1F, -1e3F, -1e30F, lowest}, "far below");
  expect_exact_sum(std::vector<float>(100, largest), "largest");
  expect_exact_sum({largest, lowest, 0.0F}, "both ends");
  expect_exact_sum({0.0F, -kInfinity, -kInfinity}, "minus infinity");
}

TEST(ChooseFromAll, EqualsPlainSoftmax) {
  std::mt19937 random(3);
  const Alphabet alphabet{{4, 0, 9, 2}};
  for (const std::size_t size : {10U, 16U, 40U, 1000U}) {
    std::vector<std::int32_t> all;
    for (std::size_t token = 0; token < size; ++token)
      all.push_back(static_cast<std::int32_t>(token));
    for (int round = 0; round < 50; ++round) {
      std::normal_distribution<float> normal(0, 1.0F + static_cast<float>(round));
      std::vector<float> logits(size);
      for (float& logit : logits) logit = normal(random);
      const Choice choice = choose_from_all(logits, alphabet, alphabet);
      const Choice expected =
          testing::describe(logits, all, alphabet, testing::best_of(logits, all));
      EXPECT_EQ(choice.token, expected.token);
      EXPECT_NEAR(choice.probability, expected.probability, 2e-6);
      EXPECT_NEAR(choice.share, expected.share, 1e-9);
      EXPECT_NEAR(choice.mean, expected.mean, 1e-9);
      EXPECT_NEAR(choice.variance, expected.variance, 1e-9);
    }
  }
}

TEST(ChooseFromAll, TakesTheFirstOfEqualMaxima) {
  for (const std::size_t size : {3U, 16U, 40U}) {
    for (std::size_t first = 0; first < size; ++first) {
      std::vector<float> logits(size, -1.0F);
      logits[first] = 2.0F;
      logits[size - 1] = 2.0F;
      const Choice choice = choose_from_all(logits, Alphabet{{0}}, Alphabet{{0}});
      EXPECT_EQ(choice.token, static_cast<std::int32_t>(first));
    }
  }
}

TEST(ChooseFromAll, GivesATokenOutsideTheAlphabetNoShare) {
  const std::vector<float> logits = {1.0F, 5.0F, 1.0F};
  const Choice choice = choose_from_all(logits, Alphabet{{0, 2}}, Alphabet{{0, 2}});
  EXPECT_EQ(choice.token, 1);
  EXPECT_EQ(choice.share, 0);
  EXPECT_DOUBLE_EQ(choice.mean, 0.5);
  EXPECT_DOUBLE_EQ(choice.variance, 0.25);
}

TEST(ChooseAmong, LooksAtTheAlphabetsColumnsOnly) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 3);
  const Alphabet alphabet{{104, 100, 109}};
  const std::vector<std::int32_t> columns = {5, 0, 3};
  for (int round = 0; round < 100; ++round) {
    std::vector<float> logits(6);
    for (float& logit : logits) logit = normal(random);
    const Choice choice = choose_among(logits, columns, alphabet);
    const auto best = testing::best_of(logits, columns);
    const auto expected = testing::describe(logits, columns, Alphabet{columns}, best);
    const auto place = std::find(columns.begin(), columns.end(), best) - columns.begin();
    EXPECT_EQ(choice.token, alphabet.tokens[static_cast<std::size_t>(place)]);
    EXPECT_NEAR(choice.probability, expected.probability, 1e-12);
    EXPECT_NEAR(choice.share, expected.share, 1e-12);
    EXPECT_NEAR(choice.mean, expected.mean, 1e-9);
    EXPECT_NEAR(choice.variance, expected.variance, 1e-9);
  }
}

TEST(ChooseAmong, TakesTheFirstOfEqualMaxima) {
  const std::vector<float> logits = {1.0F, 7.0F, 7.0F};
  const std::vector<std::int32_t> columns = {0, 2, 1};
  EXPECT_EQ(choose_among(logits, columns, Alphabet{{10, 11, 12}}).token, 11);
}

TEST(ChooseAmong, IsSureOfASingleToken) {
  const std::vector<float> logits = {-50.0F, 3.0F};
  const std::vector<std::int32_t> columns = {0};
  const Choice choice = choose_among(logits, columns, Alphabet{{8}});
  EXPECT_EQ(choice.token, 8);
  EXPECT_EQ(choice.probability, 1);
  EXPECT_EQ(choice.mean, 0);
  EXPECT_EQ(choice.variance, 0);
}

TEST(ChooseAmong, RefusesAnAlphabetWithoutColumns) {
  const std::vector<float> logits = {1.0F};
  EXPECT_THROW(choose_among(logits, {}, Alphabet{{8}}), Error);
}

TEST(Choosing, RefusesLogitsWithoutADistribution) {
  const std::vector<std::int32_t> columns = {0, 1};
  const Alphabet alphabet{{0, 1}};
  for (const std::size_t size : {2U, 40U}) {
    for (const float bad : {kNan, -kNan, kInfinity}) {
      for (const std::size_t where : {std::size_t{0}, std::size_t{1}, size - 1}) {
        std::vector<float> logits(size, 1.0F);
        logits[where] = bad;
        EXPECT_THROW(choose_from_all(logits, alphabet, alphabet), BackendError)
            << bad << " at " << where;
        if (where < 2) {
          EXPECT_THROW(choose_among(logits, columns, alphabet), BackendError);
        }
      }
    }
    EXPECT_THROW(
        choose_from_all(std::vector<float>(size, -kInfinity), alphabet, alphabet), BackendError
    );
  }
}

// A graph may mask tokens.
TEST(Choosing, TakesMinusInfinityForNever) {
  const std::vector<float> logits = {-kInfinity, 2.0F, -kInfinity};
  const Choice choice = choose_from_all(logits, Alphabet{{0, 1}}, Alphabet{{0, 1}});
  EXPECT_EQ(choice.token, 1);
  EXPECT_NEAR(choice.probability, 1, 1e-6);
  EXPECT_EQ(choice.mean, 1);
}

}  // namespace
}  // namespace edgepose
