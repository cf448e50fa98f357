// SPDX-License-Identifier: Apache-2.0
#include "edgepose/draft.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace edgepose {
namespace {

TEST(Draft, WithoutTokensGuessesNothing) {
  Draft draft({});
  EXPECT_EQ(draft.next(), std::nullopt);
  draft.follow(5, true);
  draft.follow(6, false);
  EXPECT_EQ(draft.next(), std::nullopt);
}

TEST(Draft, GoesOnWhileTheAnswerKeepsToIt) {
  const std::vector<std::int32_t> tokens = {4, 5, 6};
  Draft draft(tokens);
  for (const std::int32_t token : tokens) {
    EXPECT_EQ(draft.next(), token);
    EXPECT_TRUE(draft.place().kept);
    draft.follow(token, token == 5);
  }
  EXPECT_EQ(draft.next(), std::nullopt);
  EXPECT_TRUE(draft.place().kept);
  draft.follow(4, true);  // an answer may be longer
  EXPECT_EQ(draft.next(), std::nullopt);
  EXPECT_FALSE(draft.place().kept);
}

TEST(Draft, AnotherNumberTakesThePlaceOfTheGuess) {
  const std::vector<std::int32_t> tokens = {20, 21, 22, 21};
  Draft draft(tokens);
  draft.follow(22, true);  // though 22 stands further on
  EXPECT_EQ(draft.next(), 21);
  EXPECT_FALSE(draft.place().kept);
}

TEST(Draft, AnotherNameIsLookedUp) {
  // Two blocks of names 1, 2, 3 and numbers.
  const std::vector<std::int32_t> tokens = {8, 1, 20, 2, 21, 3, 22, 9, 1, 30, 2, 31, 3, 32, 10};
  Draft draft(tokens);
  draft.follow(8, false);
  draft.follow(2, false);  // without 1
  EXPECT_EQ(draft.next(), 21);
  draft.follow(21, true);
  draft.follow(9, false);  // nor 3
  EXPECT_EQ(draft.next(), 1);
  draft.follow(3, false);
  EXPECT_EQ(draft.next(), 32);
  draft.follow(32, true);
  draft.follow(1, false);  // nothing ahead: the first
  EXPECT_EQ(draft.next(), 20);
  draft.follow(7, false);  // nowhere
  EXPECT_EQ(draft.next(), 2);
}

TEST(Draft, ReturnsToAPlace) {
  const std::vector<std::int32_t> tokens = {4, 5, 6};
  Draft draft(tokens);
  draft.follow(4, false);
  const Draft::Place place = draft.place();
  draft.follow(7, false);
  draft.rewind(place);
  EXPECT_EQ(draft.next(), 5);
  EXPECT_TRUE(draft.place().kept);
}

}  // namespace
}  // namespace edgepose
