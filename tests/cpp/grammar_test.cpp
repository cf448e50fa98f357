// SPDX-License-Identifier: Apache-2.0
#include "edgepose/grammar.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

namespace edgepose {
namespace {

// ( digit digit )
Form brackets() { return {{Alphabet{{10, 11, 12}}, Alphabet{{1}}, Alphabet{{2}}}, {1, 0, 0, 2}}; }

TEST(Grammar, WalksTheForm) {
  const Form form = brackets();
  Grammar grammar(form);
  EXPECT_EQ(grammar.alphabet(), 1);
  EXPECT_EQ(grammar.forced(), 1);
  EXPECT_TRUE(grammar.accept(1));
  EXPECT_EQ(grammar.alphabet(), 0);
  EXPECT_EQ(grammar.forced(), std::nullopt);
  EXPECT_EQ(grammar.allowed().size(), 3U);
  EXPECT_TRUE(grammar.accept(12));
  EXPECT_TRUE(grammar.accept(10));
  EXPECT_EQ(grammar.forced(), 2);
  EXPECT_FALSE(grammar.finished());
  EXPECT_TRUE(grammar.accept(2));
  EXPECT_TRUE(grammar.finished());
  EXPECT_EQ(grammar.place(), 4U);
}

TEST(Grammar, RefusesWithoutMoving) {
  const Form form = brackets();
  Grammar grammar(form);
  EXPECT_FALSE(grammar.accept(10));
  EXPECT_EQ(grammar.place(), 0U);
  EXPECT_TRUE(grammar.accept(1));
  EXPECT_FALSE(grammar.accept(1));
  EXPECT_EQ(grammar.place(), 1U);
}

TEST(Grammar, AllowsNothingBehindTheEnd) {
  const Form form = brackets();
  Grammar grammar(form);
  for (const std::int32_t token : {1, 10, 10, 2}) ASSERT_TRUE(grammar.accept(token));
  EXPECT_TRUE(grammar.allowed().empty());
  EXPECT_EQ(grammar.forced(), std::nullopt);
  EXPECT_FALSE(grammar.accept(2));
  EXPECT_THROW(grammar.alphabet(), Error);
  EXPECT_THROW(grammar.accept_choice(), Error);
}

TEST(Grammar, TakesAChoiceThatIsNotKnownYet) {
  const Form form = brackets();
  Grammar grammar(form);
  grammar.accept(1);
  grammar.accept_choice();
  EXPECT_EQ(grammar.place(), 2U);
  EXPECT_EQ(grammar.alphabet(), 0);
}

TEST(Grammar, RollsBack) {
  const Form form = brackets();
  Grammar grammar(form);
  for (const std::int32_t token : {1, 11, 12, 2}) ASSERT_TRUE(grammar.accept(token));
  grammar.rollback(0);
  EXPECT_TRUE(grammar.finished());
  grammar.rollback(3);
  EXPECT_EQ(grammar.place(), 1U);
  EXPECT_TRUE(grammar.accept(10));
  EXPECT_THROW(grammar.rollback(3), Error);
  EXPECT_EQ(grammar.place(), 2U);
  grammar.rollback(2);
  EXPECT_EQ(grammar.forced(), 1);
}

TEST(Grammar, OfAnEmptyFormIsFinished) {
  const Form form;
  const Grammar grammar(form);
  EXPECT_TRUE(grammar.finished());
  EXPECT_TRUE(grammar.allowed().empty());
}

}  // namespace
}  // namespace edgepose
