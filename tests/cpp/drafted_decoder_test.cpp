// SPDX-License-Identifier: Apache-2.0
// The decoder with drafts: they change the number of passes and nothing else.
#include "block_world.hpp"
#include "edgepose/decoder.hpp"
#include "edgepose/error.hpp"
#include "expectations.hpp"
#include "fake_world.hpp"
#include "reference_decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace edgepose {
namespace {

using testing::Asked;
using testing::Behaviour;
using testing::BlockWorld;
using testing::expect_same;
using testing::FakeWorld;
using testing::kBehaviours;

using Drafts = std::vector<Guess>;

Drafts tokens_of(const std::vector<Answer>& answers) {
  Drafts drafts;
  for (const Answer& answer : answers) drafts.push_back({.tokens = answer.tokens});
  return drafts;
}

// A world of digits, with its reference.
struct Digits {
  explicit Digits(Behaviour behaviour, DataType type = DataType::float32)
      : world(behaviour, type) {}

  Answer reference(const Asked& asked, std::size_t q, const DecodeOptions& options) const {
    const auto codes = asked.codes(q);
    const auto budget = static_cast<std::size_t>(options.max_tokens);
    const testing::ReferencePenalty penalty = {
        options.penalty.factor, options.penalty.image_token, options.penalise_numbers
    };
    const Form& form = world.model.form;
    return options.mode == Mode::exact
               ? testing::reference_greedy(world.model, form, codes, budget, penalty)
               : testing::reference_constrained(world.model, form, codes, penalty);
  }

  std::vector<Answer> references(const Asked& asked, const DecodeOptions& options) const {
    std::vector<Answer> answers;
    for (std::size_t q = 0; q < asked.questions.size(); ++q) {
      answers.push_back(reference(asked, q, options));
    }
    return answers;
  }

  Decoding decode(const Asked& asked, const DecodeOptions& options, const Drafts& drafts) {
    Prompt prompt = asked.prompt();
    prompt.drafts = drafts;
    return world.decoder.decode(world.model.form, prompt, options);
  }

  FakeWorld world;
};

void expect_all_same(const Decoding& decoding, const std::vector<Answer>& expected) {
  ASSERT_EQ(decoding.answers.size(), expected.size());
  for (std::size_t q = 0; q < expected.size(); ++q) expect_same(decoding.answers[q], expected[q]);
}

void expect_one_pass(const Decoding& decoding) {
  EXPECT_EQ(decoding.passes.prefix, 1);
  EXPECT_EQ(decoding.passes.suffix, 1);
  EXPECT_EQ(decoding.passes.decode, 0);
  EXPECT_EQ(decoding.drafts.accepted, decoding.drafts.offered);
  EXPECT_LE(decoding.drafts.offered, decoding.drafts.free);
}

// What may be handed in for an answer.
Guess any_draft(std::mt19937& random, const Guess& right, const Drafts& others) {
  Guess draft = right;
  auto& tokens = draft.tokens;
  if (random() % 2 == 0) draft.first = static_cast<std::int64_t>(random() % 20) - 1;
  switch (random() % 8) {
    case 0:
      tokens.clear();
      break;
    case 1:
      break;
    case 2:  // too short
      tokens.resize(random() % (tokens.size() + 1));
      break;
    case 3:  // too long
      for (auto n = random() % 20; n > 0; --n) tokens.push_back(FakeWorld::word(random));
      break;
    case 4:  // of another question
      tokens = others[random() % others.size()].tokens;
      break;
    case 5:  // tokens at random
      for (auto& token : tokens) token = static_cast<std::int32_t>(random() % testing::kVocabulary);
      break;
    case 6:  // shifted
      if (!tokens.empty())
        tokens.erase(tokens.begin() + static_cast<int>(random() % tokens.size()));
      break;
    default:  // wrong here and there
      for (auto& token : tokens) {
        if (random() % 5 == 0) token = static_cast<std::int32_t>(random() % testing::kVocabulary);
      }
  }
  return draft;
}

TEST(DraftedDecoder, ARightDraftNeedsNoDecodePass) {
  std::mt19937 random(1);
  for (const Behaviour behaviour : kBehaviours) {
    for (const DataType type : {DataType::float32, DataType::float16}) {
      Digits digits(behaviour, type);
      for (const std::size_t questions : {1U, 3U, 17U}) {
        const Asked asked = digits.world.ask(random, questions);
        for (const Mode mode : {Mode::constrained, Mode::exact}) {
          const auto options = digits.world.options(mode);
          const auto expected = digits.references(asked, options);
          const auto decoding = digits.decode(asked, options, tokens_of(expected));
          expect_all_same(decoding, expected);
          expect_one_pass(decoding);
          if (mode == Mode::constrained || behaviour == Behaviour::follows_form) {
            EXPECT_EQ(decoding.drafts.accepted, static_cast<std::int64_t>(6 * questions));
            EXPECT_EQ(decoding.drafts.free, static_cast<std::int64_t>(6 * questions));
          }
          if (behaviour == Behaviour::never_follows && mode == Mode::exact) {
            EXPECT_EQ(decoding.drafts.accepted, static_cast<std::int64_t>(13 * questions));
          }
        }
      }
    }
  }
}

constexpr std::int32_t kFree = 6;  // digits of " [0.ddd,0.ddd]"

// Decode passes that are left when the first pass found its first difference at the `wrong`-th
// digit, all others being right: each resolves its guesses and the digit behind them. In exact mode
// somebody has to look behind the last digit, too.
std::int32_t passes_behind(std::int32_t wrong, Mode mode) {
  std::int32_t passes = 0;
  std::int32_t offered = std::max(1, wrong);
  std::int32_t known = wrong + 1;
  bool whole = mode == Mode::constrained && known == kFree;
  for (; !whole; ++passes) {
    const std::int32_t right = std::min(offered, kFree - known);
    known += right;
    whole = known == kFree;
    if (!whole) whole = ++known == kFree && mode == Mode::constrained;
    offered = 2 * right;
  }
  return passes;
}

TEST(DraftedDecoder, DecodesAgainFromTheDifferenceOnly) {
  std::mt19937 random(2);
  Digits digits(Behaviour::follows_form);
  const std::vector<std::size_t> places = {3, 4, 5, 9, 10, 11};
  for (int round = 0; round < 3; ++round) {
    const Asked asked = digits.world.ask(random, 4);
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      const auto options = digits.world.options(mode);
      const auto expected = digits.references(asked, options);
      for (std::int32_t wrong = 0; wrong < kFree; ++wrong) {
        Drafts drafts = tokens_of(expected);
        std::int32_t& digit = drafts[1].tokens[places[static_cast<std::size_t>(wrong)]];
        digit = 20 + (digit - 20 + 1) % 10;
        const auto decoding = digits.decode(asked, options, drafts);
        expect_all_same(decoding, expected);
        EXPECT_EQ(decoding.passes.decode, passes_behind(wrong, mode)) << "digit " << wrong;
        EXPECT_EQ(decoding.drafts.free, 4 * kFree);
        EXPECT_LT(decoding.drafts.accepted, decoding.drafts.offered);
        EXPECT_GE(decoding.drafts.accepted, 3 * kFree + wrong);
      }
    }
  }
}

TEST(DraftedDecoder, EveryWrongTokenIsFoundWhereverItStands) {
  std::mt19937 random(3);
  for (const Behaviour behaviour : kBehaviours) {
    Digits digits(behaviour);
    const Asked asked = digits.world.ask(random, 2);
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      const auto options = digits.world.options(mode);
      const auto expected = digits.references(asked, options);
      for (std::size_t place = 0; place < expected[0].tokens.size(); ++place) {
        for (const std::int32_t wrong : {20, 23, 7, 40, testing::kEnd}) {
          Drafts drafts = tokens_of(expected);
          drafts[0].tokens[place] = wrong;
          expect_all_same(digits.decode(asked, options, drafts), expected);
        }
      }
    }
  }
}

TEST(DraftedDecoder, NoDraftChangesAnAnswer) {
  std::mt19937 random(4);
  for (const Behaviour behaviour : kBehaviours) {
    Digits digits(behaviour);
    for (int round = 0; round < 40; ++round) {
      const Asked asked = digits.world.ask(random, 1 + random() % 6);
      for (const Mode mode : {Mode::constrained, Mode::exact}) {
        const std::int32_t budgets[] = {13, 13, 20, 5, 1};
        auto options = digits.world.options(mode, budgets[random() % 5]);
        const float factors[] = {1.0F, 1.05F, 3.0F};
        options.penalty = {.factor = factors[random() % 3], .image_token = 21};
        options.penalise_numbers = random() % 2 == 0;
        const auto expected = digits.references(asked, options);
        const Drafts right = tokens_of(expected);
        Drafts drafts;
        for (const Guess& one : right) drafts.push_back(any_draft(random, one, right));
        const auto without = digits.decode(asked, options, {});
        const auto decoding = digits.decode(asked, options, drafts);
        expect_all_same(decoding, expected);
        // A draft that leaves the form costs a pass where the model does not.
        EXPECT_LE(decoding.passes.decode, without.passes.decode + (mode == Mode::exact ? 1 : 0));
        EXPECT_LE(decoding.drafts.accepted, decoding.drafts.offered);
        EXPECT_LE(decoding.drafts.accepted, decoding.drafts.free);
        EXPECT_EQ(decoding.drafts.free, without.drafts.free);
        EXPECT_EQ(without.drafts.offered, 0);
      }
    }
  }
}

TEST(DraftedDecoder, BlocksToo) {
  std::mt19937 random(5);
  for (const Behaviour behaviour : kBehaviours) {
    BlockWorld blocks(behaviour);
    for (int round = 0; round < 12; ++round) {
      const Asked asked = blocks.world.ask(random, 1 + random() % 4);
      for (const Form& form : {blocks.codec.free(), blocks.codec.asked(std::vector{2, 0})}) {
        blocks.model().form = form;
        for (const Mode mode : {Mode::constrained, Mode::exact}) {
          const std::int32_t budgets[] = {60, 60, 9, 1};
          DecodeOptions options = blocks.world.options(mode, budgets[random() % 4]);
          const float factors[] = {1.0F, 1.05F, 3.0F};
          options.penalty = {.factor = factors[random() % 3], .image_token = 21};
          options.penalise_numbers = random() % 2 == 0;
          const auto without = blocks.expect(form, asked, options);
          const Drafts right = tokens_of(without.answers);
          expect_one_pass(blocks.expect(form, asked, options, right));
          Drafts drafts;
          for (const Guess& one : right) drafts.push_back(any_draft(random, one, right));
          const auto decoding = blocks.expect(form, asked, options, drafts);
          EXPECT_LE(decoding.passes.decode, without.passes.decode + (mode == Mode::exact ? 1 : 0));
          EXPECT_EQ(decoding.drafts.free, without.drafts.free);
        }
      }
    }
  }
}

// The free form: the model names other joints than before, so that everything stands elsewhere.
TEST(DraftedDecoder, ADraftOfOtherJointsStillHelps) {
  std::mt19937 random(6);
  BlockWorld blocks(Behaviour::follows_form);
  std::int32_t with = 0;
  std::int32_t before = 0;
  for (int round = 0; round < 60; ++round) {
    const Asked asked = blocks.world.ask(random, 1);
    const auto options = blocks.world.options(Mode::constrained);
    const auto without = blocks.expect(blocks.codec.free(), asked, options);
    const auto& tokens = without.answers[0].tokens;
    // The first joint is gone from both blocks, with its numbers and the comma (8) behind them.
    const auto named = std::find_if(tokens.begin(), tokens.end(), [](auto t) { return t >= 25; });
    if (named == tokens.end()) continue;
    std::vector<std::int32_t> draft;
    bool drops = false;
    for (const std::int32_t token : tokens) {
      const bool comma = drops && token == 8;
      drops = token == *named || (drops && token >= 20 && token < 25);
      if (!drops && !comma) draft.push_back(token);
    }
    const auto decoding = blocks.expect(blocks.codec.free(), asked, options, {{.tokens = draft}});
    with += decoding.passes.decode;
    before += without.passes.decode;
  }
  EXPECT_GT(before, 0);
  EXPECT_LT(4 * with, 3 * before);
}

TEST(DraftedDecoder, ForgetsGuessesFromOnePromptToTheNext) {
  std::mt19937 random(7);
  Digits digits(Behaviour::leaves_somewhere);
  for (int round = 0; round < 10; ++round) {
    const Asked asked = digits.world.ask(random, 1 + random() % 5);
    for (const Mode mode : {Mode::exact, Mode::constrained}) {
      const auto options = digits.world.options(mode);
      const auto expected = digits.references(asked, options);
      Drafts drafts = tokens_of(expected);
      for (auto& draft : drafts) draft.tokens[draft.tokens.size() / 2] = 27;
      expect_all_same(digits.decode(asked, options, drafts), expected);
      expect_all_same(digits.decode(asked, options, {}), expected);
    }
  }
}

// Two tokens of six are believed in at first: the first pass feeds them, the next the other ones.
TEST(DraftedDecoder, ADraftMayBeOfferedInParts) {
  std::mt19937 random(10);
  Digits digits(Behaviour::follows_form);
  const Asked asked = digits.world.ask(random, 3);
  const auto options = digits.world.options(Mode::constrained);
  const auto expected = digits.references(asked, options);
  for (const auto& [first, offered, passes] :
       {std::tuple{13, 6, 0}, {12, 6, 0}, {11, 5, 0}, {5, 5, 1}, {4, 4, 2}, {0, 3, 2}}) {
    Drafts drafts = tokens_of(expected);
    for (Guess& draft : drafts) draft.first = first;
    const auto decoding = digits.decode(asked, options, drafts);
    expect_all_same(decoding, expected);
    EXPECT_EQ(decoding.passes.decode, passes) << first;
    EXPECT_EQ(decoding.drafts.offered, 3 * offered) << first;
    EXPECT_EQ(decoding.drafts.accepted, 3 * offered) << first;
  }
}

TEST(DraftedDecoder, SomeQuestionsMayHaveNone) {
  std::mt19937 random(8);
  Digits digits(Behaviour::follows_form);
  const Asked asked = digits.world.ask(random, 3);
  const auto options = digits.world.options(Mode::constrained);
  const auto expected = digits.references(asked, options);
  Drafts drafts = tokens_of(expected);
  drafts[1].tokens.clear();
  const auto decoding = digits.decode(asked, options, drafts);
  expect_all_same(decoding, expected);
  EXPECT_EQ(decoding.passes.decode, 5);
  EXPECT_EQ(decoding.drafts.accepted, 12);
}

TEST(DraftedDecoder, RefusesDraftsWithoutSense) {
  std::mt19937 random(9);
  Digits digits(Behaviour::follows_form);
  const Asked asked = digits.world.ask(random, 2);
  for (const Mode mode : {Mode::constrained, Mode::exact}) {
    const auto options = digits.world.options(mode);
    const auto expect_refused = [&](const Drafts& drafts, const std::string& holds) {
      try {
        digits.decode(asked, options, drafts);
        ADD_FAILURE() << "nothing was thrown for " << holds;
      } catch (const InvalidInput& error) {
        EXPECT_NE(std::string(error.what()).find(holds), std::string::npos) << error.what();
      }
    };
    expect_refused({{.tokens = {4}}}, "one for each of 2 questions, or none; got 1");
    expect_refused({{.tokens = {4}}, {.tokens = {4, -3}}}, "got -3");
    const auto expected = digits.references(asked, options);
    expect_all_same(digits.decode(asked, options, tokens_of(expected)), expected);
  }
}

}  // namespace
}  // namespace edgepose
