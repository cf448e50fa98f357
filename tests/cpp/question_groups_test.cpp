// SPDX-License-Identifier: Apache-2.0
// More questions than a backend takes at once: they are answered in groups behind one prefix.
#include "device_world.hpp"
#include "edgepose/error.hpp"
#include "expectations.hpp"
#include "feeding.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <tuple>
#include <vector>

namespace edgepose {
namespace {

using testing::Asked;
using testing::Behaviour;
using testing::DeviceWorld;
using testing::expect_same;
using testing::extent_of;
using testing::kBehaviours;
using testing::SeenPass;

DeviceOptions at_once(std::int64_t questions) {
  return {.least_slots = 1, .most_questions = questions};
}

void expect_all_same(const Decoding& decoding, const Decoding& expected) {
  ASSERT_EQ(decoding.answers.size(), expected.answers.size());
  for (std::size_t q = 0; q < expected.answers.size(); ++q) {
    expect_same(decoding.answers[q], expected.answers[q]);
  }
}

// Of the passes behind the prefix.
std::set<std::vector<std::int64_t>> shapes_of(std::vector<SeenPass>& passes) {
  std::set<std::vector<std::int64_t>> shapes;
  for (std::size_t k = 1; k < passes.size(); ++k) {
    const SeenPass& pass = passes[k];
    shapes.insert({pass.rows, pass.width, pass.prefix, pass.suffix, pass.looks});
  }
  passes.clear();
  return shapes;
}

class EveryGroupSize : public ::testing::TestWithParam<std::tuple<Behaviour, std::int64_t>> {};

INSTANTIATE_TEST_SUITE_P(
    QuestionGroups,
    EveryGroupSize,
    ::testing::Combine(::testing::ValuesIn(kBehaviours), ::testing::Values(1, 2, 3, 7))
);

TEST_P(EveryGroupSize, AnswersAsInOneBatch) {
  const auto [behaviour, most] = GetParam();
  std::mt19937 random(1);
  DeviceWorld world(behaviour, DataType::float32, at_once(most));
  for (int round = 0; round < 6; ++round) {
    const Asked asked = world.ask(random, 1 + random() % 9);
    const std::int64_t groups = world.device_decoder.groups(std::ssize(asked.questions));
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      for (const float factor : {1.0F, 1.3F}) {
        DecodeOptions options = world.options(mode);
        options.penalty = {.factor = factor, .image_token = 33};
        options.penalise_numbers = true;
        const Decoding whole = world.decode(asked, options);
        world.device_graphs.passes.clear();
        const Decoding split = world.decode_on_device(asked, options);
        expect_all_same(split, whole);
        EXPECT_EQ(split.passes.prefix, 1);
        EXPECT_EQ(split.passes.suffix, groups);
        if (mode == Mode::constrained) {
          EXPECT_EQ(split.passes.decode, groups * whole.passes.decode);
        }
        EXPECT_EQ(
            std::ssize(world.device_graphs.passes),
            split.passes.prefix + split.passes.suffix + split.passes.decode
        );
        for (const SeenPass& pass : world.device_graphs.passes) EXPECT_LE(pass.rows, most);
      }
    }
  }
}

TEST_P(EveryGroupSize, TakesDraftsAsInOneBatch) {
  const auto [behaviour, most] = GetParam();
  std::mt19937 random(2);
  DeviceWorld world(behaviour, DataType::float32, at_once(most));
  for (int round = 0; round < 6; ++round) {
    const Asked asked = world.ask(random, 2 + random() % 8);
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      const DecodeOptions options = world.options(mode);
      std::vector<Guess> drafts;
      for (const Answer& answer : world.decode(asked, options).answers) {
        Guess& guess = drafts.emplace_back();
        guess.tokens = answer.tokens;
        if (random() % 2 == 0) {
          guess.tokens[random() % guess.tokens.size()] =
              static_cast<std::int32_t>(random() % testing::kVocabulary);
        }
      }
      Prompt prompt = asked.prompt();
      prompt.drafts = drafts;
      const Decoding whole = world.decoder.decode(world.model.form, prompt, options);
      const Decoding split = world.decode_on_device(asked, options, drafts);
      expect_all_same(split, whole);
      EXPECT_EQ(split.drafts.offered, whole.drafts.offered);
      EXPECT_EQ(split.drafts.accepted, whole.drafts.accepted);
      EXPECT_EQ(split.drafts.free, whole.drafts.free);
    }
  }
}

TEST(QuestionGroups, AreAsFewAsTheBackendAllows) {
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(17));
  const std::vector<std::int64_t> questions = {0, 1, 17, 18, 34, 35};
  std::vector<std::int64_t> groups;
  for (const std::int64_t count : questions) groups.push_back(world.device_decoder.groups(count));
  EXPECT_EQ(groups, (std::vector<std::int64_t>{0, 1, 1, 2, 2, 3}));
  EXPECT_EQ(world.decoder.groups(100000), 1);  // on the host
  EXPECT_EQ(DeviceWorld().device_decoder.groups(100000), 1);
}

TEST(QuestionGroups, AreOfOneSize) {
  std::mt19937 random(3);
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(17));
  const auto rows_for = [&](std::size_t questions) {
    world.device_graphs.passes.clear();
    world.decode_on_device(world.ask(random, questions), world.options(Mode::constrained));
    std::set<std::int64_t> rows;
    for (std::size_t k = 1; k < world.device_graphs.passes.size(); ++k) {
      rows.insert(world.device_graphs.passes[k].rows);
    }
    return rows;
  };
  EXPECT_EQ(rows_for(20), std::set<std::int64_t>{10});
  EXPECT_EQ(rows_for(35), std::set<std::int64_t>{12});  // the last group has 11
}

TEST(QuestionGroups, TakeNoShapesThatOneGroupDoesNot) {
  std::mt19937 random(4);
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(2));
  const auto options = world.options(Mode::constrained);
  const Asked one = world.ask(random, {31, kImageToken}, {6, 4});
  const Asked three = world.ask(random, {31, kImageToken}, {6, 4, 5, 6, 6});
  for (int round = 0; round < 3; ++round) world.decode_on_device(one, options);
  const std::int64_t captures = world.on_device.captures();
  shapes_of(world.device_graphs.passes);
  world.decode_on_device(one, options);
  const auto shapes = shapes_of(world.device_graphs.passes);
  const auto before = world.device.counts();
  for (int round = 0; round < 3; ++round) {
    world.decode_on_device(three, options);
    EXPECT_EQ(shapes_of(world.device_graphs.passes), shapes);
  }
  EXPECT_EQ(world.on_device.captures(), captures);
  EXPECT_EQ(world.device.counts().captures, before.captures);
  EXPECT_GT(world.device.counts().replays, before.replays);
}

TEST(QuestionGroups, WaitOnceForAllAnswersOfKnownLength) {
  std::mt19937 random(5);
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(3));
  const Asked asked = world.ask(random, 10);
  const auto options = world.options(Mode::constrained);
  for (int round = 0; round < 2; ++round) world.decode_on_device(asked, options);
  for (int round = 0; round < 4; ++round) {
    const auto before = world.device.counts();
    const Decoding decoding = world.decode_on_device(asked, options);
    EXPECT_EQ(world.device.counts().synchronisations - before.synchronisations, 1);
    EXPECT_EQ(world.device.counts().allocations, before.allocations);
    const auto passes = world.on_device.pass_seconds();
    ASSERT_EQ(std::ssize(passes), 1 + 4 * 6);
    // Prefix, then four times a suffix pass with five others behind it.
    double suffix = 0;
    for (std::size_t k = 1; k < passes.size(); k += 6) suffix += passes[k];
    EXPECT_DOUBLE_EQ(decoding.seconds.prefix, passes[0]);
    EXPECT_DOUBLE_EQ(decoding.seconds.suffix, suffix);
    EXPECT_NEAR(
        decoding.seconds.graphs,
        decoding.seconds.prefix + decoding.seconds.suffix + decoding.seconds.decode,
        1e-9
    );
    EXPECT_GT(decoding.seconds.decode, 0);
  }
}

TEST(QuestionGroups, GrowAndKeepWhatIsThere) {
  std::mt19937 random(6);
  DeviceWorld world(Behaviour::never_follows, DataType::float32, at_once(2));
  const Asked asked = world.ask(random, {31, kImageToken}, {4, 7, 3, 5, 1});
  DecodeOptions options = world.options(Mode::exact, 200);
  options.max_positions = 1000;
  options.penalty = {.factor = 1.2F};
  for (int round = 0; round < 2; ++round) {
    expect_all_same(world.decode_on_device(asked, options), world.decode(asked, options));
  }
}

TEST(QuestionGroups, RecoverFromLogitsThatAreNotFinite) {
  std::mt19937 random(7);
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(2));
  const Asked asked = world.ask(random, {31, 32}, {2, 5, 4});
  const auto options = world.options(Mode::constrained);
  const Decoding good = world.decode_on_device(asked, options);
  for (const std::size_t pass : {1U, 7U}) {  // the suffix pass of either group
    world.device_graphs.overflows_at = world.device_graphs.passes.size() + pass;
    EXPECT_THROW(world.decode_on_device(asked, options), BackendError);
    expect_all_same(world.decode_on_device(asked, options), good);
  }
}

TEST(QuestionGroups, AreMadeByTheDecoder) {
  std::mt19937 random(8);
  DeviceWorld world(Behaviour::follows_form, DataType::float32, at_once(2));
  EXPECT_THROW(world.on_device.begin(extent_of(world.ask(random, 3), 40)), Error);
  world.backend.begin(extent_of(world.ask(random, 3), 40));
  EXPECT_THROW(world.backend.next_questions(), Error);  // the host takes all at once
}

}  // namespace
}  // namespace edgepose
