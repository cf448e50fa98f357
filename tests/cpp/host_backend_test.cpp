// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_backend.hpp"

#include "counting_new.hpp"
#include "edgepose/error.hpp"
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
using testing::FakeWorld;

// Graphs that answer zeros and allocate nothing.
class StillGraphs final : public Graphs {
 public:
  std::int64_t
  bind(const std::string&, std::span<const TensorView> inputs, std::span<const TensorView>)
      override {
    for (const TensorView& input : inputs) {
      if (input.name == "suffix_key.0" && input.shape[2] > 0) ++decode_binds;
    }
    return binds++;
  }
  void run(std::int64_t) override { ++runs; }
  void release() override { ++releases; }

  std::int64_t binds = 0;
  std::int64_t decode_binds = 0;  // of passes behind other tokens
  std::int64_t runs = 0;
  std::int64_t releases = 0;
};

Extent extent_of(const Asked& asked, std::int64_t suffix) {
  return {
      static_cast<std::int64_t>(asked.prefix.size()),
      static_cast<std::int64_t>(asked.questions.size()),
      suffix
  };
}

void begin(FakeWorld& world, const Asked& asked, std::int64_t suffix = 40) {
  world.backend.begin(extent_of(asked, suffix));
  world.backend.feed_prefix(asked.prefix, asked.image.empty() ? nullptr : asked.image.data());
}

void add_run(
    Step& step, std::int32_t question, std::int32_t slot, const std::vector<Feed>& feeds, int looks
) {
  step.runs.push_back(
      {.question = question,
       .slot = slot,
       .first = static_cast<std::int32_t>(step.feeds.size()),
       .count = static_cast<std::int32_t>(feeds.size()),
       .looks = looks}
  );
  step.feeds.insert(step.feeds.end(), feeds.begin(), feeds.end());
  for (int k = 0; k < looks; ++k) step.alphabets.push_back(0);
}

std::int32_t best_digit(const FakeWorld& world, const std::vector<testing::Code>& codes) {
  return testing::best_of(world.model.logits(codes), world.codec.form().alphabets[0].tokens);
}

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
    const auto expected = testing::reference_greedy(world.model, asked.codes(q), 1);
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
  step.alphabets.clear();
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
    HostBackend(graphs, dims, nullptr, world.codec.form().alphabets, answer_head);
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

// A NaN that stayed in a cache would poison later prompts from behind their masks.
TEST(HostBackend, IsCleanAfterNumbersThatOverflowed) {
  std::mt19937 random(10);
  for (const std::size_t pass : {0U, 1U, 2U, 5U}) {
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      FakeWorld world;
      const Asked before =
          world.ask(random, {31, kImageToken, kImageToken, kImageToken}, {20, 9, 2});
      world.graphs.overflows_at = pass;
      EXPECT_THROW(world.decoder.decode(before.prompt(), world.options(mode)), BackendError);
      // Everything is smaller now, so that old slots stay behind the masks; the fake looks at them.
      const Asked after = world.ask(random, {33, 34}, {3, 1});
      const auto decoding = world.decoder.decode(after.prompt(), world.options(Mode::constrained));
      for (std::size_t q = 0; q < 2; ++q) {
        const auto expected = testing::reference_constrained(world.model, after.codes(q));
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
  EXPECT_THROW(
      world.decoder.decode(before.prompt(), world.options(Mode::constrained)), BackendError
  );
  const Asked after = world.ask(random, {31, 32}, {9, 1, 1});
  const auto decoding = world.decoder.decode(after.prompt(), world.options(Mode::constrained));
  for (std::size_t q = 0; q < 3; ++q) {
    const auto expected = testing::reference_constrained(world.model, after.codes(q));
    EXPECT_EQ(decoding.answers[q].tokens, expected.tokens);
  }
}

TEST(HostBackend, KeepsItsBindingsAndNotTooMany) {
  std::mt19937 random(12);
  FakeWorld world;
  const auto decode = [&](const Asked& asked) {
    const auto decoding = world.decoder.decode(asked.prompt(), world.options(Mode::constrained));
    const auto expected = testing::reference_constrained(world.model, asked.codes(0));
    EXPECT_EQ(decoding.answers[0].tokens, expected.tokens);
  };
  decode(world.ask(random, std::vector<std::int32_t>(40, 31), {40}));
  const auto releases = world.graphs.releases;
  const Asked asked = world.ask(random, std::vector<std::int32_t>(7, 32), {5});
  decode(asked);
  const auto live = world.graphs.live_bindings();
  decode(asked);
  EXPECT_EQ(world.graphs.live_bindings(), live) << "the same shapes are bound once";
  EXPECT_EQ(world.graphs.releases, releases) << "no memory moved";
  for (std::size_t prefix = 1; prefix <= 40; ++prefix) {
    decode(world.ask(random, std::vector<std::int32_t>(prefix, 31), {prefix}));
    EXPECT_LE(world.graphs.live_bindings(), 128U);
  }
  EXPECT_GT(world.graphs.releases, releases);
}

TEST(HostBackend, AllocatesNothingOnceItKnowsThePrompt) {
  const FakeWorld world;
  StillGraphs graphs;
  HostBackend backend(
      graphs,
      world.dims,
      world.embeddings.data(),
      world.codec.form().alphabets,
      testing::answer_tokens()
  );
  std::mt19937 random(13);
  const Asked asked = world.ask(random, 17);
  std::vector<Step> steps(4);
  std::vector<std::int32_t> fed(17, 0);
  for (std::size_t pass = 0; pass < steps.size(); ++pass) {
    steps[pass].head = pass == 2 ? Head::full : Head::answer;
    for (std::int32_t i = 0; i < 17; ++i) {
      const auto q = static_cast<std::size_t>(i);
      const auto feeds = pass == 0 ? asked.questions[q] : std::vector<Feed>{chosen(i), 5, 6};
      add_run(steps[pass], i, fed[q], feeds, pass == 3 ? 3 : 1);
      fed[q] += static_cast<std::int32_t>(feeds.size());
    }
  }
  const auto run = [&] {
    std::vector<std::size_t> counts;
    counts.reserve(8);
    counts.push_back(testing::allocations());
    backend.begin(extent_of(asked, 64));
    counts.push_back(testing::allocations());
    backend.feed_prefix(asked.prefix, asked.image.data());
    counts.push_back(testing::allocations());
    for (const Step& step : steps) {
      backend.feed(step);
      counts.push_back(testing::allocations());
    }
    return counts;
  };
  run();  // buffers grow, which voids what was bound before
  run();  // all is bound
  const auto binds = graphs.binds;
  const auto releases = graphs.releases;
  const auto counts = run();
  for (std::size_t stage = 1; stage < counts.size(); ++stage) {
    EXPECT_EQ(counts[stage], counts[stage - 1]) << "stage " << stage;
  }
  EXPECT_EQ(graphs.binds, binds);
  EXPECT_EQ(graphs.releases, releases);
}

TEST(HostBackend, DecodingAllocatesItsResultOnly) {
  const FakeWorld world;
  StillGraphs graphs;
  HostBackend backend(
      graphs,
      world.dims,
      world.embeddings.data(),
      world.codec.form().alphabets,
      testing::answer_tokens()
  );
  Decoder decoder(backend, world.codec.form());
  std::mt19937 random(14);
  const Asked asked = world.ask(random, 17);
  for (const Mode mode : {Mode::constrained, Mode::exact}) {
    decoder.decode(asked.prompt(), world.options(mode));
    const auto decode_binds = graphs.decode_binds;
    const auto releases = graphs.releases;
    decoder.decode(asked.prompt(), world.options(mode));
    EXPECT_EQ(graphs.decode_binds, decode_binds) << "one prompt is enough for the decode steps";
    EXPECT_EQ(graphs.releases, releases);
    const auto binds = graphs.binds;
    const std::size_t before = testing::allocations();
    const auto decoding = decoder.decode(asked.prompt(), world.options(mode));
    const std::size_t count = testing::allocations() - before;
    // The list of answers, tokens and choices of each; the progress of the questions, and what
    // each has drafted or chosen.
    EXPECT_EQ(graphs.binds, binds) << "two prompts are enough for everything";
    EXPECT_LE(count, 2 + 3 * decoding.answers.size());
    RecordProperty(mode == Mode::exact ? "exact" : "constrained", static_cast<int>(count));
  }
}

TEST(HostBackend, CountsTheTimeInTheGraphs) {
  std::mt19937 random(15);
  FakeWorld world;
  const auto first =
      world.decoder.decode(world.ask(random, 9).prompt(), world.options(Mode::exact));
  EXPECT_GT(first.seconds.graphs, 0);
  EXPECT_LE(
      first.seconds.graphs, first.seconds.prefix + first.seconds.suffix + first.seconds.decode
  );
  world.backend.begin({1, 1, 1});
  EXPECT_EQ(world.backend.graph_seconds(), 0);
}

}  // namespace
}  // namespace edgepose
