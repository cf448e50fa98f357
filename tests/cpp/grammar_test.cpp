// SPDX-License-Identifier: Apache-2.0
#include "edgepose/grammar.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

namespace edgepose {
namespace {

Form form_of(std::vector<Alphabet> alphabets, std::vector<Slot> slots) {
  return {std::make_shared<const std::vector<Alphabet>>(std::move(alphabets)), std::move(slots)};
}

// ( digit digit )
Form brackets() {
  return form_of(
      {Alphabet{{10, 11, 12}}, Alphabet{{1}}, Alphabet{{2}}},
      {{.alphabet = 1}, {.alphabet = 0, .number = true}, {.alphabet = 0}, {.alphabet = 2}}
  );
}

// Items 20, 21, 22 with a digit each, closed by 2; then the same items with two digits, closed
// by 3.
Form items() {
  return form_of(
      {Alphabet{{10, 11, 12}}, Alphabet{{20, 21, 22, 2}}, Alphabet{{20, 21, 22, 3}}},
      {{.alphabet = 1, .turn = Turn::opens_or_closes, .next = 1, .closed = 2},
       {.alphabet = 0, .number = true, .next = 0},
       {.alphabet = 2, .turn = Turn::opens_or_closes, .echoes = true, .next = 3, .closed = 5},
       {.alphabet = 0, .number = true},
       {.alphabet = 0, .number = true, .next = 2}}
  );
}

// Items behind commas (5): one digit each, a blank (6) and the end (2) behind the last.
Form commas() {
  return form_of(
      {Alphabet{{10, 11, 12}}, Alphabet{{20, 21}}, Alphabet{{5, 6}}, Alphabet{{2}}},
      {{.alphabet = 1, .turn = Turn::opens},
       {.alphabet = 0, .number = true},
       {.alphabet = 2, .turn = Turn::goes_on_or_closes, .next = 0, .closed = 3},
       {.alphabet = 3}}
  );
}

void take(Grammar& grammar, const std::vector<std::int32_t>& tokens) {
  for (const std::int32_t token : tokens) ASSERT_TRUE(grammar.accept(token)) << token;
}

TEST(Grammar, WalksTheForm) {
  const Form form = brackets();
  EXPECT_EQ(form.longest(), 4);
  EXPECT_EQ(form.looks(), 2);
  Grammar grammar(form);
  EXPECT_EQ(grammar.alphabet(), 1);
  EXPECT_EQ(grammar.forced(), 1);
  EXPECT_TRUE(grammar.accept(1));
  EXPECT_EQ(grammar.alphabet(), 0);
  EXPECT_TRUE(grammar.slot().number);
  EXPECT_EQ(grammar.forced(), std::nullopt);
  EXPECT_TRUE(grammar.allows(11));
  EXPECT_FALSE(grammar.allows(2));
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
  take(grammar, {1, 10, 10, 2});
  EXPECT_FALSE(grammar.allows(2));
  EXPECT_EQ(grammar.forced(), std::nullopt);
  EXPECT_FALSE(grammar.branches());
  EXPECT_TRUE(grammar.banned().empty());
  EXPECT_FALSE(grammar.accept(2));
  EXPECT_THROW(grammar.alphabet(), Error);
  EXPECT_THROW(grammar.accept_choice(), Error);
}

TEST(Grammar, TakesAChoiceThatIsNotKnownYet) {
  const Form form = brackets();
  Grammar grammar(form);
  grammar.accept(1);
  EXPECT_FALSE(grammar.branches());
  grammar.accept_choice();
  EXPECT_EQ(grammar.place(), 2U);
  EXPECT_EQ(grammar.alphabet(), 0);
}

TEST(Grammar, RollsBack) {
  const Form form = brackets();
  Grammar grammar(form);
  take(grammar, {1, 11, 12, 2});
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
  const Form form = form_of({}, {});
  const Grammar grammar(form);
  EXPECT_TRUE(grammar.finished());
  EXPECT_FALSE(grammar.allows(1));
  EXPECT_EQ(form.longest(), 0);
}

TEST(Grammar, OpensEachItemOnce) {
  const Form form = items();
  Grammar grammar(form);
  EXPECT_TRUE(grammar.branches());
  EXPECT_THROW(grammar.accept_choice(), Error) << "what comes next depends on it";
  EXPECT_TRUE(grammar.banned().empty());
  take(grammar, {21});
  EXPECT_FALSE(grammar.branches());
  grammar.accept_choice();
  EXPECT_FALSE(grammar.allows(21));
  EXPECT_FALSE(grammar.accept(21));
  EXPECT_EQ(std::vector(grammar.banned().begin(), grammar.banned().end()), std::vector{21});
  EXPECT_TRUE(grammar.allows(20));
  EXPECT_TRUE(grammar.allows(2));
}

TEST(Grammar, EchoesTheItemsInOrder) {
  const Form form = items();
  Grammar grammar(form);
  take(grammar, {22, 10, 20, 11, 2});
  EXPECT_EQ(grammar.forced(), 22);
  EXPECT_FALSE(grammar.branches());
  EXPECT_TRUE(grammar.banned().empty());
  EXPECT_FALSE(grammar.accept(20));
  take(grammar, {22, 10, 10});
  EXPECT_EQ(grammar.forced(), 20);
  take(grammar, {20, 12, 12});
  EXPECT_EQ(grammar.forced(), 3);
  take(grammar, {3});
  EXPECT_TRUE(grammar.finished());
}

TEST(Grammar, ClosesWhereNothingIsLeftToOpen) {
  const Form form = items();
  EXPECT_EQ(form.items(), 3);
  EXPECT_EQ(form.longest(), 3 * 2 + 1 + 3 * 3 + 1);
  EXPECT_EQ(form.looks(), 3 + 3 + 6);
  Grammar grammar(form);
  take(grammar, {22, 10, 20, 11, 21, 10});
  EXPECT_EQ(grammar.forced(), 2);
  EXPECT_FALSE(grammar.branches());
}

TEST(Grammar, ClosesWithoutItems) {
  const Form form = items();
  Grammar grammar(form);
  take(grammar, {2});
  EXPECT_EQ(grammar.forced(), 3);
  take(grammar, {3});
  EXPECT_TRUE(grammar.finished());
}

TEST(Grammar, BranchesAtASeparator) {
  const Form form = commas();
  EXPECT_EQ(form.longest(), 2 + 1 + 2 + 1 + 1);
  Grammar grammar(form);
  EXPECT_TRUE(grammar.branches());
  take(grammar, {21, 10});
  EXPECT_TRUE(grammar.branches());
  EXPECT_TRUE(grammar.banned().empty());
  take(grammar, {5});
  EXPECT_EQ(grammar.forced(), 20) << "the one that is left";
  take(grammar, {20, 11});
  EXPECT_EQ(grammar.forced(), 6);
  take(grammar, {6, 2});
  EXPECT_TRUE(grammar.finished());
}

TEST(Grammar, RollsBackOverItems) {
  const Form form = items();
  Grammar grammar(form);
  take(grammar, {22, 10, 20, 11, 2, 22});
  grammar.rollback(4);  // to behind the first item
  EXPECT_TRUE(grammar.allows(20));
  EXPECT_FALSE(grammar.allows(22));
  take(grammar, {21, 11, 2});
  EXPECT_EQ(grammar.forced(), 22);
  take(grammar, {22, 10, 10});
  EXPECT_EQ(grammar.forced(), 21);
  grammar.rollback(3);
  EXPECT_EQ(grammar.forced(), 22);
}

TEST(Form, RefusesSlotsWithoutEnd) {
  const std::vector<Alphabet> alphabets = {Alphabet{{1}}};
  EXPECT_THROW(form_of(alphabets, {{.alphabet = 0, .next = 0}}), Error);
  EXPECT_THROW(form_of(alphabets, {{.alphabet = 0, .next = 2}}), Error);
}

}  // namespace
}  // namespace edgepose
