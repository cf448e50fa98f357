// SPDX-License-Identifier: Apache-2.0
#include "edgepose/decoder.hpp"

#include "edgepose/error.hpp"
#include "expectations.hpp"
#include "fake_world.hpp"
#include "reference_decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace edgepose {
namespace {

using testing::Asked;
using testing::Behaviour;
using testing::expect_same;
using testing::FakeWorld;
using testing::kBehaviours;

Decoding expect_constrained(FakeWorld& world, const Asked& asked) {
  auto decoding = world.decode(asked, world.options(Mode::constrained));
  EXPECT_EQ(decoding.answers.size(), asked.questions.size());
  for (std::size_t q = 0; q < asked.questions.size(); ++q) {
    expect_same(
        decoding.answers[q],
        testing::reference_constrained(world.model, world.model.form, asked.codes(q))
    );
  }
  return decoding;
}

Decoding expect_exact(FakeWorld& world, const Asked& asked, std::int32_t max_tokens = 13) {
  auto decoding = world.decode(asked, world.options(Mode::exact, max_tokens));
  EXPECT_EQ(decoding.answers.size(), asked.questions.size());
  for (std::size_t q = 0; q < asked.questions.size(); ++q) {
    const auto length = static_cast<std::size_t>(max_tokens);
    expect_same(
        decoding.answers[q],
        testing::reference_greedy(world.model, world.model.form, asked.codes(q), length)
    );
  }
  return decoding;
}

struct Case {
  std::size_t questions;
  DataType type;
};

class DecoderTest : public ::testing::TestWithParam<Case> {};

TEST_P(DecoderTest, ConstrainedEqualsReferenceInSevenPasses) {
  std::mt19937 random(1);
  for (const Behaviour behaviour : kBehaviours) {
    FakeWorld world(behaviour, GetParam().type);
    for (int round = 0; round < 3; ++round) {
      world.graphs.passes.clear();
      const auto decoding = expect_constrained(world, world.ask(random, GetParam().questions));
      EXPECT_EQ(decoding.passes.prefix, 1);
      EXPECT_EQ(decoding.passes.suffix, 1);
      EXPECT_EQ(decoding.passes.decode, 5);
      EXPECT_EQ(world.graphs.passes.size(), 7U);
    }
    // The full head is never touched, and run once a pass with looks.
    EXPECT_EQ(world.graphs.heads, std::vector<std::string>(18, "answer_head"));
  }
}

TEST_P(DecoderTest, ExactEqualsGreedySearchWhateverTheModelSays) {
  std::mt19937 random(2);
  for (const Behaviour behaviour : kBehaviours) {
    FakeWorld world(behaviour, GetParam().type);
    for (int round = 0; round < 3; ++round) {
      world.graphs.passes.clear();
      const auto decoding = expect_exact(world, world.ask(random, GetParam().questions));
      EXPECT_EQ(decoding.passes.prefix, 1);
      EXPECT_EQ(decoding.passes.suffix, 1);
      EXPECT_EQ(world.graphs.passes.size(), 2U + static_cast<std::size_t>(decoding.passes.decode));
    }
  }
}

// The first look needs the question and three forced tokens, so the last of 12 answer tokens that
// are fed is fed by pass 6; its look is the 13th token.
TEST_P(DecoderTest, ExactTakesSixDecodePassesForTheForm) {
  std::mt19937 random(3);
  FakeWorld world(Behaviour::follows_form, GetParam().type);
  for (int round = 0; round < 3; ++round) {
    const auto decoding = expect_exact(world, world.ask(random, GetParam().questions));
    EXPECT_EQ(decoding.passes.decode, 6);
    for (const Answer& answer : decoding.answers) EXPECT_TRUE(answer.follows_form);
  }
}

TEST_P(DecoderTest, BothModesSayTheSameWhereTheModelKeepsToTheForm) {
  std::mt19937 random(16);
  FakeWorld world(Behaviour::follows_form, GetParam().type);
  const auto asked = world.ask(random, GetParam().questions);
  const auto constrained = expect_constrained(world, asked);
  const auto exact = expect_exact(world, asked);
  for (std::size_t q = 0; q < exact.answers.size(); ++q) {
    EXPECT_EQ(constrained.answers[q].tokens, exact.answers[q].tokens);
  }
}

TEST_P(DecoderTest, ExactTakesOnePassATokenWhenNothingFollowsTheForm) {
  std::mt19937 random(4);
  FakeWorld world(Behaviour::never_follows, GetParam().type);
  const auto decoding = expect_exact(world, world.ask(random, GetParam().questions));
  EXPECT_EQ(decoding.passes.decode, 12);
  for (const Answer& answer : decoding.answers) {
    EXPECT_FALSE(answer.follows_form);
    EXPECT_EQ(answer.tokens.size(), 13U);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes,
    DecoderTest,
    ::testing::Values(
        Case{1, DataType::float32},
        Case{3, DataType::float32},
        Case{17, DataType::float32},
        Case{3, DataType::float16}
    ),
    [](const auto& tested) {
      return std::to_string(tested.param.questions) + name_of(tested.param.type);
    }
);

TEST(Decoder, AnswersSeveralPromptsOfAnySizeInARow) {
  std::mt19937 random(5);
  FakeWorld world(Behaviour::leaves_somewhere);
  for (const std::size_t count : {2U, 9U, 1U, 5U, 13U, 3U}) {
    const Asked asked = world.ask(random, count);
    expect_constrained(world, asked);
    expect_exact(world, asked);
    expect_constrained(world, world.ask(random, count));
  }
}

TEST(Decoder, AnswersTheSameTwice) {
  std::mt19937 random(6);
  FakeWorld world(Behaviour::leaves_somewhere);
  const Asked asked = world.ask(random, 5);
  const auto once = expect_exact(world, asked);
  const auto again = expect_exact(world, asked);
  EXPECT_EQ(once.passes.decode, again.passes.decode);
}

TEST(Decoder, TakesAnyPrefix) {
  std::mt19937 random(7);
  FakeWorld world;
  constexpr auto kImage = kImageToken;
  const std::vector<std::vector<std::int32_t>> prefixes = {
      {31},
      {kImage},
      {kImage, kImage, kImage},
      {kImage, 31},
      {31, kImage},
      {kImage, 31, kImage},
      {31, 32, 33, 34},
      std::vector<std::int32_t>(100, kImage)
  };
  for (const auto& prefix : prefixes) {
    expect_constrained(world, world.ask(random, prefix, {4, 2}));
    expect_exact(world, world.ask(random, prefix, {1}));
  }
}

TEST(Decoder, TakesQuestionsOfOneToken) {
  std::mt19937 random(8);
  FakeWorld world;
  expect_constrained(world, world.ask(random, {31, kImageToken}, {1, 1, 1}));
  expect_exact(world, world.ask(random, {31, kImageToken}, {1, 7, 1}));
}

TEST(Decoder, ExactHoldsForAnyBudget) {
  std::mt19937 random(9);
  for (const Behaviour behaviour : kBehaviours) {
    FakeWorld world(behaviour);
    for (const std::int32_t budget : {1, 2, 3, 4, 5, 7, 12, 14, 20}) {
      const auto decoding = expect_exact(world, world.ask(random, 4), budget);
      for (const Answer& answer : decoding.answers) {
        EXPECT_LE(answer.tokens.size(), static_cast<std::size_t>(budget));
      }
    }
  }
}

// With room for it, the model ends a whole answer itself.
TEST(Decoder, AnEndBehindTheFormLeavesItWhole) {
  std::mt19937 random(10);
  FakeWorld world(Behaviour::follows_form);
  const auto decoding = expect_exact(world, world.ask(random, 3), 20);
  for (const Answer& answer : decoding.answers) {
    EXPECT_EQ(answer.tokens.size(), 14U);
    EXPECT_EQ(answer.tokens.back(), testing::kEnd);
    EXPECT_TRUE(answer.follows_form);
  }
}

TEST(Decoder, EndsAtDifferentTimes) {
  std::mt19937 random(11);
  FakeWorld world(Behaviour::ends_early);
  std::vector<std::size_t> lengths;
  for (int round = 0; round < 4; ++round) {
    for (const Answer& answer : expect_exact(world, world.ask(random, 9)).answers) {
      lengths.push_back(answer.tokens.size());
      if (answer.tokens.size() < 13) {
        EXPECT_EQ(answer.tokens.back(), testing::kEnd);
      }
    }
  }
  std::sort(lengths.begin(), lengths.end());
  EXPECT_EQ(lengths.front(), 1U);
  EXPECT_EQ(lengths.back(), 13U);
}

TEST(Decoder, WorksForEveryFormOfTheCodec) {
  std::mt19937 random(12);
  for (const std::vector<std::int32_t>& places :
       {std::vector<std::int32_t>{1}, {2}, {3, 3, 6}, {1, 4}}) {
    FakeWorld world;
    const DigitCodec codec(places, testing::kTokens);
    world.model.form = codec.form();
    world.graphs.model().form = codec.form();
    const Asked asked = world.ask(random, 4);
    const auto free = world.decode(asked, world.options(Mode::constrained));
    const auto exact = world.decode(asked, world.options(Mode::exact, 25));
    std::int32_t digits = 0;
    for (const std::int32_t count : places) digits += count;
    EXPECT_EQ(free.passes.decode, digits - 1);
    for (std::size_t q = 0; q < 4; ++q) {
      expect_same(
          free.answers[q],
          testing::reference_constrained(world.model, world.model.form, asked.codes(q))
      );
      expect_same(
          exact.answers[q],
          testing::reference_greedy(world.model, world.model.form, asked.codes(q), 25)
      );
      EXPECT_TRUE(exact.answers[q].follows_form);
    }
  }
}

TEST(Decoder, AFormWithoutFreeTokensNeedsNoPassBehindThePrefix) {
  std::mt19937 random(13);
  FakeWorld world;
  // The codec's opening and closing bracket.
  const Form form(world.codec.form().shared_alphabets(), {{.alphabet = 1}, {.alphabet = 5}});
  const Asked asked = world.ask(random, 2);
  const auto decoding =
      world.decoder.decode(form, asked.prompt(), world.options(Mode::constrained));
  EXPECT_EQ(decoding.passes.suffix, 0);
  EXPECT_EQ(decoding.passes.decode, 0);
  for (const Answer& answer : decoding.answers) {
    EXPECT_EQ(answer.tokens, (std::vector<std::int32_t>{4, 7}));
    EXPECT_TRUE(answer.follows_form);
  }
}

template <typename Expected>
void expect_refused(FakeWorld& world, const Prompt& prompt, const std::string& holds) {
  for (const Mode mode : {Mode::constrained, Mode::exact}) {
    try {
      world.decoder.decode(world.model.form, prompt, world.options(mode));
      ADD_FAILURE() << "nothing was thrown for " << holds;
    } catch (const Expected& error) {
      EXPECT_NE(std::string(error.what()).find(holds), std::string::npos) << error.what();
    }
  }
}

TEST(Decoder, RefusesPromptsWithoutSense) {
  FakeWorld world;
  const std::vector<std::int32_t> prefix = {31};
  const std::vector<std::vector<std::int32_t>> questions = {{40, 41}};
  const std::vector<std::vector<std::int32_t>> none;
  const std::vector<std::vector<std::int32_t>> empty = {{40}, {}};
  expect_refused<InvalidInput>(world, {{}, nullptr, questions}, "got no token");
  expect_refused<InvalidInput>(world, {prefix, nullptr, none}, "got none");
  expect_refused<InvalidInput>(world, {prefix, nullptr, empty}, "got none");
  const std::vector<std::int32_t> image_token = {kImageToken};
  expect_refused<InvalidInput>(world, {image_token, nullptr, questions}, "got -1");
  const std::vector<std::int32_t> negative = {31, -2};
  expect_refused<InvalidInput>(world, {negative, nullptr, questions}, "got -2");
  const std::vector<std::vector<std::int32_t>> image_row = {{40}, {41, kImageToken, 42}};
  expect_refused<InvalidInput>(world, {prefix, nullptr, image_row}, "got -1");
  const std::vector<std::vector<std::int32_t>> unknown = {{40, 64}};
  expect_refused<InvalidInput>(world, {prefix, nullptr, unknown}, "got 64");
  std::mt19937 random(14);
  expect_constrained(world, world.ask(random, 3));  // and nothing of it sticks
}

TEST(Decoder, RefusesPromptsLongerThanTheContext) {
  std::mt19937 random(15);
  FakeWorld world;
  const std::vector<std::int32_t> prefix(200, 31);
  expect_constrained(world, world.ask(random, prefix, {87, 3}));
  expect_exact(world, world.ask(random, prefix, {87, 3}));
  const Asked asked = world.ask(random, prefix, {3, 88});
  expect_refused<DecodeError>(world, asked.prompt(), "300 positions; got 301 tokens");
}

}  // namespace
}  // namespace edgepose
