// SPDX-License-Identifier: Apache-2.0
#include "edgepose/token_history.hpp"

#include "edgepose/error.hpp"
#include "edgepose/positions.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace edgepose {
namespace {

constexpr float kFactor = 1.05F;

TokenHistory history_of(const Penalty& penalty, const std::vector<std::int32_t>& prefix) {
  TokenHistory history(10);
  history.begin(penalty, 2);
  history.set_prefix(prefix);
  return history;
}

std::vector<float> penalised(TokenHistory& history, std::int64_t question, std::int64_t length) {
  std::vector<float> logits = {2, -2, 2, -2, 2, -2, 2, -2, 2, -2};
  history.penalise(question, length, logits);
  return logits;
}

// 2 / 1.05 and -2 * 1.05 for these tokens.
std::vector<float> with(const std::vector<std::size_t>& tokens) {
  std::vector<float> logits = {2, -2, 2, -2, 2, -2, 2, -2, 2, -2};
  for (const std::size_t token : tokens)
    logits[token] = token % 2 == 0 ? 2 / kFactor : -2 * kFactor;
  return logits;
}

TEST(TokenHistory, PenalisesEachTokenOnce) {
  TokenHistory history = history_of({.factor = kFactor}, {3, 3, 4});
  EXPECT_TRUE(history.active());
  EXPECT_EQ(penalised(history, 0, 0), with({3, 4}));
  history.set(0, 0, 4);
  history.set(0, 1, 7);
  history.set(0, 2, 7);
  EXPECT_EQ(penalised(history, 0, 3), with({3, 4, 7}));
  EXPECT_EQ(penalised(history, 0, 3), with({3, 4, 7})) << "and again for the next look";
}

TEST(TokenHistory, SeesWhatStandsBeforeTheLook) {
  TokenHistory history = history_of({.factor = kFactor}, {0});
  for (std::int32_t slot = 0; slot < 4; ++slot) history.set(1, slot, slot + 1);
  for (std::size_t length = 0; length <= 4; ++length) {
    std::vector<std::size_t> seen = {0};
    for (std::size_t token = 1; token <= length; ++token) seen.push_back(token);
    EXPECT_EQ(penalised(history, 1, static_cast<std::int64_t>(length)), with(seen));
  }
  EXPECT_EQ(penalised(history, 0, 0), with({0})) << "questions do not see each other";
}

TEST(TokenHistory, ForgetsWhatIsTruncatedOrOverwritten) {
  TokenHistory history = history_of({.factor = kFactor}, {0});
  for (std::int32_t slot = 0; slot < 4; ++slot) history.set(0, slot, slot + 1);
  history.truncate(0, 2);
  EXPECT_EQ(penalised(history, 0, 2), with({0, 1, 2}));
  history.set(0, 2, 9);
  EXPECT_EQ(penalised(history, 0, 3), with({0, 1, 2, 9}));
  history.begin({.factor = kFactor}, 1);
  history.set_prefix(std::vector<std::int32_t>{5});
  EXPECT_EQ(penalised(history, 0, 0), with({5}));
}

TEST(TokenHistory, CountsImageRowsAsTheirToken) {
  const std::vector<std::int32_t> prefix = {kImageToken, 3, kImageToken};
  TokenHistory known = history_of({.factor = kFactor, .image_token = 8}, prefix);
  EXPECT_EQ(penalised(known, 0, 0), with({3, 8}));
  TokenHistory unknown = history_of({.factor = kFactor}, prefix);
  EXPECT_EQ(penalised(unknown, 0, 0), with({3}));
}

TEST(TokenHistory, PenalisesColumnsOfTheirTokens) {
  TokenHistory history = history_of({.factor = kFactor}, {3, 6});
  std::vector<float> logits = {2, 2, -2, 2};
  history.penalise(
      0, 0, logits, std::vector<std::int32_t>{6, 5, 3}, std::vector<std::int32_t>{3, 1, 2}
  );
  EXPECT_EQ(logits, (std::vector<float>{2, 2, -2 * kFactor, 2 / kFactor}));
}

TEST(TokenHistory, IsExactInFloat) {
  TokenHistory history = history_of({.factor = kFactor}, {0, 1, 2, 3});
  std::vector<float> logits = {0.1F, -0.1F, 17.3F, 0.0F};
  history.penalise(0, 0, logits);
  EXPECT_EQ(logits[0], 0.1F / kFactor);
  EXPECT_EQ(logits[1], -0.1F * kFactor);
  EXPECT_EQ(logits[2], 17.3F / kFactor);
  EXPECT_EQ(logits[3], 0.0F);
}

TEST(TokenHistory, IsIdleWithoutAPenalty) {
  TokenHistory history(10);
  history.begin({}, 2);
  EXPECT_FALSE(history.active());
  history.truncate(1, 0);
}

TEST(TokenHistory, RefusesPenaltiesWithoutSense) {
  TokenHistory history(10);
  for (const float factor : {0.0F, -1.0F, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(history.begin({.factor = factor}, 1), InvalidInput) << factor;
  }
  for (const std::int32_t token : {-2, 10}) {
    EXPECT_THROW(history.begin({.factor = 2, .image_token = token}, 1), InvalidInput) << token;
  }
}

}  // namespace
}  // namespace edgepose
