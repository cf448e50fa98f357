// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_backend.hpp"

#include "edgepose/error.hpp"
#include "fake_world.hpp"
#include "feeding.hpp"
#include "reference_decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace edgepose {
namespace {

using testing::add_run;
using testing::Asked;
using testing::begin;
using testing::best_digit;
using testing::extent_of;
using testing::FakeWorld;
using testing::StillGraphs;

TEST(HostBackend, FeedsChoicesThatNobodyHasReadYet) {
  std::mt19937 random(1);
  for (int round = 0; round < 10; ++round) {
    FakeWorld by_reference;
    FakeWorld by_value;
    const Asked asked = by_reference.ask(random, 4);
    std::vector<std::vector<std::int32_t>> known(4);
    std::vector<std::int32_t> fed;
    for (const auto& question : asked.questions) {
      fed.push_back(static_cast<std::int32_t>(question.size()));
    }
    begin(by_reference, asked);
    begin(by_value, asked);
    for (int pass = 0; pass < 4; ++pass) {
      Step reference;
      Step value;
      for (std::int32_t i = 3; i >= 0; --i) {  // runs need not be in the order of the questions
        const auto q = static_cast<std::size_t>(i);
        if (pass == 0) {
          add_run(reference, i, 0, asked.questions[q], 1);
          add_run(value, i, 0, asked.questions[q], 1);
          continue;
        }
        // Looks are numbered through all passes, in order of the runs.
        add_run(reference, i, fed[q], {chosen((pass - 1) * 4 + (3 - i)), 5}, 1);
        add_run(value, i, fed[q], {known[q].back(), 5}, 1);
        fed[q] += 2;
      }
      by_reference.backend.feed(reference);
      by_value.backend.feed(value);
      const auto choices = by_value.backend.choices();
      for (std::size_t q = 0; q < 4; ++q) {
        known[q].push_back(choices[static_cast<std::size_t>(pass) * 4 + 3 - q].token);
      }
    }
    const auto one = by_reference.backend.choices();
    const auto other = by_value.backend.choices();
    ASSERT_EQ(one.size(), 16U);
    for (std::size_t look = 0; look < one.size(); ++look) {
      EXPECT_EQ(one[look].token, other[look].token);
      EXPECT_EQ(one[look].share, other[look].share);
    }
  }
}

TEST(HostBackend, RefusesAChoiceOfTheSameStep) {
  std::mt19937 random(2);
  FakeWorld world;
  const Asked asked = world.ask(random, 1);
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, {40, chosen(0)}, 1);
  EXPECT_THROW(world.backend.feed(step), Error);
}

TEST(HostBackend, LooksAtTheLastTokensOfARun) {
  std::mt19937 random(3);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, 32, kImageToken}, {5, 2, 9});
  begin(world, asked);
  Step step;
  const std::vector<int> looks = {3, 0, 9};
  for (std::int32_t i = 0; i < 3; ++i) {
    const auto q = static_cast<std::size_t>(i);
    add_run(step, i, 0, asked.questions[q], looks[q]);
  }
  world.backend.feed(step);
  const auto choices = world.backend.choices();
  ASSERT_EQ(choices.size(), 12U);
  std::size_t look = 0;
  for (std::size_t q = 0; q < 3; ++q) {
    const auto codes = asked.codes(q);
    for (auto ahead = looks[q] - 1; ahead >= 0; --ahead) {
      const std::vector<testing::Code> seen(codes.begin(), codes.end() - ahead);
      EXPECT_EQ(choices[look++].token, best_digit(world, seen)) << "question " << q;
    }
  }
}

TEST(HostBackend, NeedsNoLook) {
  std::mt19937 random(4);
  FakeWorld world;
  const Asked asked = world.ask(random, {31}, {4});
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, {asked.questions[0].begin(), asked.questions[0].end() - 1}, 0);
  world.backend.feed(step);
  EXPECT_TRUE(world.backend.choices().empty());
  EXPECT_TRUE(world.graphs.heads.empty());
  step.clear();
  add_run(step, 0, 3, {testing::kAsk}, 1);
  world.backend.feed(step);
  EXPECT_EQ(world.backend.choices()[0].token, best_digit(world, asked.codes(0)));
  step.clear();
  world.backend.feed(step);  // a step without runs is no pass
  EXPECT_EQ(world.graphs.passes.size(), 3U);
}

TEST(HostBackend, ForgetsWhatIsTruncated) {
  std::mt19937 random(5);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, kImageToken}, {3, 6});
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, asked.questions[0], 1);
  add_run(step, 1, 0, asked.questions[1], 1);
  world.backend.feed(step);
  world.backend.truncate(1, 2);
  world.backend.truncate(0, 0);
  step.clear();
  add_run(step, 1, 2, {50, testing::kAsk}, 1);
  world.backend.feed(step);
  step.clear();
  add_run(step, 0, 0, {51, 52, testing::kAsk}, 1);
  add_run(step, 1, 4, {53, testing::kAsk}, 1);
  world.backend.feed(step);

  auto second = asked.codes(1);
  second.resize(asked.prefix.size() + 2);
  second.insert(second.end(), {50, testing::kAsk});
  EXPECT_EQ(world.backend.choices()[2].token, best_digit(world, second));
  auto first = asked.prefix_codes;
  first.insert(first.end(), {51, 52, testing::kAsk});
  EXPECT_EQ(world.backend.choices()[3].token, best_digit(world, first));
  second.insert(second.end(), {53, testing::kAsk});
  EXPECT_EQ(world.backend.choices()[4].token, best_digit(world, second));
}

TEST(HostBackend, GivesRetiredQuestionsNoRow) {
  std::mt19937 random(21);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, kImageToken, 32}, {3, 6, 2, 4, 5});
  begin(world, asked);
  Step step;
  std::vector<std::vector<testing::Code>> codes;
  std::vector<std::int32_t> fed;
  for (std::int32_t i = 0; i < 5; ++i) {
    const auto& question = asked.questions[static_cast<std::size_t>(i)];
    add_run(step, i, 0, question, 1);
    codes.push_back(asked.codes(static_cast<std::size_t>(i)));
    fed.push_back(static_cast<std::int32_t>(question.size()));
  }
  world.backend.feed(step);
  std::size_t looks = 5;
  const auto feed_one = [&](std::int32_t question, std::vector<Feed> tokens) {
    const auto q = static_cast<std::size_t>(question);
    tokens.push_back(testing::kAsk);
    step.clear();
    add_run(step, question, fed[q], tokens, 1);
    world.backend.feed(step);
    fed[q] += static_cast<std::int32_t>(tokens.size());
    codes[q].insert(codes[q].end(), tokens.begin(), tokens.end());
    EXPECT_EQ(world.backend.choices()[looks++].token, best_digit(world, codes[q]));
  };
  world.backend.retire(1);
  feed_one(4, {50});
  EXPECT_EQ(world.graphs.passes.back().rows, 5);  // one of five is not worth moving the others
  world.backend.retire(3);
  feed_one(2, {51, 52});
  EXPECT_EQ(world.graphs.passes.back().rows, 3);
  feed_one(4, {53});
  world.backend.truncate(4, fed[4] - 1);
  codes[4].pop_back();
  --fed[4];
  feed_one(4, {54});
  world.backend.retire(0);
  world.backend.retire(2);
  feed_one(4, {55});
  EXPECT_EQ(world.graphs.passes.back().rows, 1);
  EXPECT_THROW(feed_one(2, {56}), Error);
  EXPECT_THROW(world.backend.retire(2), Error);
  // The next prompt has all of them again.
  begin(world, asked);
  step.clear();
  add_run(step, 1, 0, asked.questions[1], 1);
  world.backend.feed(step);
  EXPECT_EQ(world.backend.choices()[0].token, best_digit(world, asked.codes(1)));
}

TEST(HostBackend, SharesRowsWhenQuestionsAreRagged) {
  std::mt19937 random(6);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, 32, 33}, {20, 1, 2, 1, 3});
  begin(world, asked);
  Step step;
  for (std::int32_t i = 0; i < 5; ++i) {
    add_run(step, i, 0, asked.questions[static_cast<std::size_t>(i)], 1);
  }
  world.backend.feed(step);
  EXPECT_LT(world.graphs.passes.back().rows, 5);
  EXPECT_EQ(world.graphs.passes.back().suffix, 0);  // nothing there yet, nothing read
  for (std::size_t q = 0; q < 5; ++q) {
    EXPECT_EQ(world.backend.choices()[q].token, best_digit(world, asked.codes(q)));
  }
  // Behind them each has its own row again.
  step.clear();
  add_run(step, 3, 1, {60}, 1);
  world.backend.feed(step);
  EXPECT_EQ(world.graphs.passes.back(), (testing::SeenPass{5, 1, 3, 40, 1}));
  auto codes = asked.codes(3);
  codes.push_back(60);
  EXPECT_EQ(world.backend.choices()[5].token, best_digit(world, codes));
}

TEST(HostBackend, UsesTheHeadThatTheStepNames) {
  std::mt19937 random(7);
  FakeWorld world;
  const Asked asked = world.ask(random, 2);
  begin(world, asked);
  Step step;
  step.head = Head::full;
  for (std::int32_t i = 0; i < 2; ++i) {
    add_run(step, i, 0, asked.questions[static_cast<std::size_t>(i)], 1);
  }
  world.backend.feed(step);
  EXPECT_EQ(world.graphs.heads, (std::vector<std::string>{"lm_head"}));
  for (std::size_t q = 0; q < 2; ++q) {
    const auto expected =
        testing::reference_greedy(world.model, world.model.form, asked.codes(q), 1);
    EXPECT_EQ(world.backend.choices()[q].token, expected.tokens[0]);
  }
}

TEST(HostBackend, RefusesStepsThatDoNotContinueTheCache) {
  std::mt19937 random(8);
  FakeWorld world;
  const Asked asked = world.ask(random, {31}, {3});
  begin(world, asked, 6);
  Step step;
  add_run(step, 0, 1, {40}, 1);
  EXPECT_THROW(world.backend.feed(step), Error) << "a gap";
  step.clear();
  add_run(step, 0, 0, {40, 41}, 0);
  world.backend.feed(step);
  EXPECT_THROW(world.backend.feed(step), Error) << "over what is there";
  step.clear();
  add_run(step, 0, 2, {40}, 1);
  step.looks.clear();
  EXPECT_THROW(world.backend.feed(step), Error) << "a look without an alphabet";
  step.clear();
  add_run(step, 0, 2, {40, 41, 42, 43, 44}, 0);
  EXPECT_THROW(world.backend.feed(step), DecodeError) << "past the capacity";
  step.clear();
  add_run(step, 0, 2, {40, 41, 42, 43}, 0);
  EXPECT_NO_THROW(world.backend.feed(step)) << "to the capacity";
}

TEST(HostBackend, RefusesTokensOutsideTheVocabularyNamingThem) {
  std::mt19937 random(9);
  FakeWorld world;
  const Asked asked = world.ask(random, {31}, {3});
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, {testing::kVocabulary}, 1);
  try {
    world.backend.feed(step);
    FAIL() << "nothing was thrown";
  } catch (const InvalidInput& error) {
    EXPECT_NE(std::string(error.what()).find("64; got 64"), std::string::npos) << error.what();
  }
}

TEST(HostBackend, RefusesCodecsThatTheHeadsCannotAnswer) {
  const FakeWorld world;
  StillGraphs graphs;
  const auto make = [&](DecoderDims dims, std::vector<std::int32_t> answer_head) {
    HostBackend(graphs, dims, nullptr, world.codec.alphabets(), answer_head);
  };
  EXPECT_NO_THROW(make(world.dims, testing::answer_tokens()));
  auto missing = testing::answer_tokens();
  missing.pop_back();
  EXPECT_THROW(make(world.dims, missing), BundleError);
  // Nobody chooses among one token, so ten digits are enough.
  EXPECT_NO_THROW(make(world.dims, {20, 21, 22, 23, 24, 25, 26, 27, 28, 29}));
  DecoderDims small = world.dims;
  small.vocabulary = 29;  // the digit 9 is token 29
  EXPECT_THROW(make(small, testing::answer_tokens()), BundleError);
}

TEST(HostBackend, RefusesAlphabetsThatAreEmpty) {
  const FakeWorld world;
  StillGraphs graphs;
  const auto make = [&](std::vector<Alphabet> alphabets) {
    HostBackend(graphs, world.dims, nullptr, std::move(alphabets), testing::answer_tokens());
  };
  EXPECT_THROW(make({}), BundleError);
  EXPECT_THROW(make({Alphabet{{4, 5}}, Alphabet{}}), BundleError);
}

TEST(HostBackend, NeverChoosesWhatIsBanned) {
  std::mt19937 random(16);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, kImageToken}, {3});
  const auto codes = asked.codes(0);
  const auto logits = world.model.logits(codes);
  std::vector<std::int32_t> left = world.codec.alphabets()[0].tokens;
  std::vector<std::int32_t> banned = {5};  // not of this alphabet: without meaning
  while (!left.empty()) {
    begin(world, asked);
    Step step;
    add_run(step, 0, 0, asked.questions[0], 1);
    step.banned = {1, 2};
    step.looks[0].first_banned = 2;
    step.looks[0].banned = static_cast<std::int32_t>(banned.size());
    step.banned.insert(step.banned.end(), banned.begin(), banned.end());
    world.backend.feed(step);
    const Choice choice = world.backend.choices()[0];
    EXPECT_EQ(choice.token, testing::best_of(logits, left));
    const auto shares = testing::softmax(logits, left);
    EXPECT_NEAR(choice.share, *std::max_element(shares.begin(), shares.end()), 1e-9);
    banned.push_back(choice.token);
    left.erase(std::find(left.begin(), left.end(), choice.token));
  }
}

// Looks in a draft are penalised for what stands before them, and for nothing that was dropped.
TEST(HostBackend, PenalisesEveryLookForItsOwnPast) {
  std::mt19937 random(17);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, kImageToken, 32}, {3});
  Extent extent = extent_of(asked, 40);
  extent.penalty = {.factor = 40, .image_token = 33};
  world.backend.begin(extent);
  world.backend.feed_prefix({asked.prefix, asked.image.data()});
  auto codes = asked.codes(0);
  const testing::ReferencePenalty penalty{40, 33};
  const auto expected = [&] {
    return testing::best_of(
        testing::penalised(world.model.logits(codes), testing::ids_of(codes, penalty), 40),
        [] {
          std::vector<std::int32_t> all;
          for (std::int32_t token = 0; token < testing::kVocabulary; ++token) all.push_back(token);
          return all;
        }()
    );
  };
  Step step;
  step.head = Head::full;
  add_run(step, 0, 0, {asked.questions[0][0], asked.questions[0][1], testing::kAsk, 4, 20, 5}, 4);
  for (Look& look : step.looks) look.penalised = true;
  world.backend.feed(step);
  for (std::size_t look = 0; look < 4; ++look) {
    EXPECT_EQ(world.backend.choices()[look].token, expected()) << look;
    codes.push_back(look == 0 ? 4 : look == 1 ? 20 : 5);
  }
  world.backend.truncate(0, 4);  // only 4 was right
  codes = asked.codes(0);
  codes.insert(codes.end(), {4, 21});
  step.clear();
  step.head = Head::full;
  add_run(step, 0, 4, {21}, 1);
  step.looks[0].penalised = true;
  world.backend.feed(step);
  EXPECT_EQ(world.backend.choices()[4].token, expected());
}

// A NaN that stayed in a cache would poison later prompts from behind their masks.
TEST(HostBackend, IsCleanAfterNumbersThatOverflowed) {
  std::mt19937 random(10);
  for (const std::size_t pass : {0U, 1U, 2U, 5U}) {
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      FakeWorld world;
      const Asked before =
          world.ask(random, {31, kImageToken, kImageToken, kImageToken}, {20, 9, 2});
      world.graphs.overflows_at = pass;
      EXPECT_THROW(world.decode(before, world.options(mode)), BackendError);
      // Everything is smaller now, so that old slots stay behind the masks; the fake looks at them.
      const Asked after = world.ask(random, {33, 34}, {3, 1});
      const auto decoding = world.decode(after, world.options(Mode::constrained));
      for (std::size_t q = 0; q < 2; ++q) {
        const auto expected =
            testing::reference_constrained(world.model, world.model.form, after.codes(q));
        EXPECT_EQ(decoding.answers[q].tokens, expected.tokens);
      }
    }
  }
}

TEST(HostBackend, IsCleanAfterAnImageWithNaN) {
  std::mt19937 random(11);
  FakeWorld world;
  Asked before = world.ask(random, std::vector<std::int32_t>(30, kImageToken), {2, 4});
  for (std::int64_t row = 0; row < 30; ++row) {
    testing::store_nan(DataType::float32, before.image.data(), row * world.dims.hidden);
  }
  EXPECT_THROW(world.decode(before, world.options(Mode::constrained)), BackendError);
  const Asked after = world.ask(random, {31, 32}, {9, 1, 1});
  const auto decoding = world.decode(after, world.options(Mode::constrained));
  for (std::size_t q = 0; q < 3; ++q) {
    const auto expected =
        testing::reference_constrained(world.model, world.model.form, after.codes(q));
    EXPECT_EQ(decoding.answers[q].tokens, expected.tokens);
  }
}

TEST(HostBackend, CountsTheTimeInTheGraphs) {
  std::mt19937 random(15);
  FakeWorld world;
  const auto first = world.decode(world.ask(random, 9), world.options(Mode::exact));
  EXPECT_GT(first.seconds.graphs, 0);
  EXPECT_LE(
      first.seconds.graphs, first.seconds.prefix + first.seconds.suffix + first.seconds.decode
  );
  world.backend.begin({1, 1, 1});
  EXPECT_EQ(world.backend.graph_seconds(), 0);
}

}  // namespace
}  // namespace edgepose
