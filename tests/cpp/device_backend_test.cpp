// SPDX-License-Identifier: Apache-2.0
#include "edgepose/device_backend.hpp"

#include "device_world.hpp"
#include "edgepose/error.hpp"
#include "expectations.hpp"
#include "feeding.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

namespace edgepose {
namespace {

using testing::add_run;
using testing::Asked;
using testing::Behaviour;
using testing::DeviceWorld;
using testing::expect_same;
using testing::extent_of;
using testing::kBehaviours;

void begin(DeviceWorld& world, const Asked& asked, std::int64_t suffix = 40) {
  world.on_device.begin(extent_of(asked, suffix));
  world.on_device.feed_prefix({asked.prefix, asked.image.empty() ? nullptr : asked.image.data()});
}

void expect_as_on_host(
    DeviceWorld& world,
    const Asked& asked,
    const DecodeOptions& options,
    std::span<const Guess> drafts = {}
) {
  Prompt prompt = asked.prompt();
  prompt.drafts = drafts;
  const Decoding host = world.decoder.decode(world.model.form, prompt, options);
  const Decoding device = world.decode_on_device(asked, options, drafts);
  ASSERT_EQ(device.answers.size(), host.answers.size());
  for (std::size_t i = 0; i < host.answers.size(); ++i) {
    expect_same(device.answers[i], host.answers[i]);
  }
  EXPECT_EQ(device.passes.suffix, host.passes.suffix);
  EXPECT_EQ(device.passes.decode, host.passes.decode);
  EXPECT_EQ(device.drafts.accepted, host.drafts.accepted);
}

class EveryBehaviour : public ::testing::TestWithParam<Behaviour> {};
INSTANTIATE_TEST_SUITE_P(DeviceBackend, EveryBehaviour, ::testing::ValuesIn(kBehaviours));

TEST_P(EveryBehaviour, AnswersAsOnTheHost) {
  std::mt19937 random(1);
  for (const auto type : {DataType::float32, DataType::float16}) {
    for (const std::int64_t least : {0, 1}) {
      DeviceWorld world(GetParam(), type, {.least_slots = least});
      for (int round = 0; round < 8; ++round) {
        const Asked asked = world.ask(random, 1 + random() % 5);
        for (const Mode mode : {Mode::constrained, Mode::exact}) {
          DecodeOptions options = world.options(mode);
          expect_as_on_host(world, asked, options);
          options.penalty = {.factor = 1.3F, .image_token = round % 2 == 0 ? -1 : 33};
          options.penalise_numbers = true;
          expect_as_on_host(world, asked, options);
        }
      }
    }
  }
}

TEST_P(EveryBehaviour, TakesDraftsAsOnTheHost) {
  std::mt19937 random(2);
  DeviceWorld world(GetParam());
  for (int round = 0; round < 8; ++round) {
    const Asked asked = world.ask(random, 1 + random() % 4);
    for (const Mode mode : {Mode::constrained, Mode::exact}) {
      const DecodeOptions options = world.options(mode);
      const Decoding truth = world.decode(asked, options);
      std::vector<Guess> drafts;
      for (const Answer& answer : truth.answers) {
        Guess& guess = drafts.emplace_back();
        guess.tokens = answer.tokens;
        if (!guess.tokens.empty() && random() % 2 == 0) {
          guess.tokens[random() % guess.tokens.size()] =
              static_cast<std::int32_t>(random() % testing::kVocabulary);
        }
      }
      expect_as_on_host(world, asked, options, drafts);
    }
  }
}

TEST(DeviceBackend, WaitsOnceForAnAnswerOfKnownLength) {
  std::mt19937 random(3);
  DeviceWorld world;
  const Asked asked = world.ask(random, 17);
  world.decode_on_device(asked, world.options(Mode::constrained));  // memory finds its size
  for (int round = 0; round < 4; ++round) {
    const auto before = world.device.counts();
    const Decoding decoding = world.decode_on_device(asked, world.options(Mode::constrained));
    EXPECT_GT(decoding.passes.decode, 2);
    EXPECT_EQ(
        std::ssize(world.on_device.pass_seconds()),
        decoding.passes.prefix + decoding.passes.suffix + decoding.passes.decode
    );
    EXPECT_GT(decoding.seconds.decode, 0);
    EXPECT_NEAR(
        decoding.seconds.graphs,
        decoding.seconds.prefix + decoding.seconds.suffix + decoding.seconds.decode,
        1e-9
    );
    EXPECT_EQ(world.device.counts().synchronisations - before.synchronisations, 1);
    EXPECT_EQ(world.device.counts().allocations, before.allocations);
  }
}

TEST(DeviceBackend, WaitsAtTheEndOnly) {
  std::mt19937 random(4);
  DeviceWorld world;
  const Asked asked = world.ask(random, {31, 32}, {5, 2});
  begin(world, asked);
  Step step;
  for (std::int32_t i = 0; i < 2; ++i) add_run(step, i, 0, asked.questions[std::size_t(i)], 1);
  world.on_device.feed(step);
  world.on_device.choices();
  world.device_graphs.passes.clear();
  begin(world, asked);
  world.on_device.feed(step);
  EXPECT_TRUE(world.device_graphs.passes.empty());  // the device is as lazy as it may be
  EXPECT_EQ(world.on_device.choices().size(), 2U);
  EXPECT_EQ(world.device_graphs.passes.size(), 2U);
}

TEST(DeviceBackend, CapturesEachShapeOnce) {
  std::mt19937 random(5);
  DeviceWorld world;
  const Asked asked = world.ask(random, {31, 32, kImageToken}, {5, 2, 9});
  const DecodeOptions options = world.options(Mode::constrained);
  std::vector<std::int64_t> captures;
  std::vector<std::int64_t> launches;
  for (int round = 0; round < 6; ++round) {
    world.decode_on_device(asked, options);
    captures.push_back(world.device.counts().captures);
    launches.push_back(world.device.counts().launches);
  }
  EXPECT_GT(captures.back(), 2);
  EXPECT_EQ(captures.back(), world.on_device.captures());
  EXPECT_EQ(captures[2], captures[5]);
  EXPECT_EQ(launches[3], launches[5]);  // everything is replayed
  EXPECT_GT(world.device.counts().replays, 3 * captures.back());
}

TEST(DeviceBackend, ReplaysNothingOfOtherRoomForAnswers) {
  std::mt19937 random(15);
  for (const float factor : {1.0F, 1.3F}) {
    DeviceWorld world;
    DecodeOptions options = world.options(Mode::exact);
    options.max_positions = 1000;
    options.penalty.factor = factor;
    // Room for other lengths of answers, while the first pass has the same shape.
    for (const std::int32_t tokens : {90, 90, 90, 20, 20, 20, 90}) {
      options.max_tokens = tokens;
      expect_as_on_host(world, world.ask(random, {31, kImageToken, 40}, {6, 3, 3}), options);
    }
    EXPECT_GT(world.device.counts().replays, 0);
  }
}

TEST(DeviceBackend, ReplayIsWhatItWouldDoAnyway) {
  std::mt19937 random(6);
  for (const Mode mode : {Mode::constrained, Mode::exact}) {
    DeviceWorld captured;
    DeviceWorld eager(Behaviour::follows_form, DataType::float32, {.capture = false});
    for (int round = 0; round < 5; ++round) {
      // Other tokens, the same shapes.
      const Asked asked = captured.ask(random, {31, kImageToken, 40}, {6, 3, 3});
      const Decoding one = captured.decode_on_device(asked, captured.options(mode));
      const Decoding other = eager.decode_on_device(asked, eager.options(mode));
      for (std::size_t i = 0; i < 3; ++i) expect_same(one.answers[i], other.answers[i]);
    }
    EXPECT_GT(captured.device.counts().replays, 0);
    EXPECT_EQ(eager.device.counts().captures, 0);
  }
}

TEST(DeviceBackend, KeepsItsMemoryOverManyPrompts) {
  std::mt19937 random(7);
  DeviceWorld world;
  std::int64_t bytes = 0;
  const Asked asked = world.ask(random, 5);
  for (int round = 0; round < 300; ++round) {
    world.decode_on_device(asked, world.options(Mode::constrained));
    if (round == 2) bytes = world.device.counts().bytes;
  }
  EXPECT_EQ(world.device.counts().bytes, bytes);
}

TEST(DeviceBackend, GrowsAndKeepsWhatIsThere) {
  std::mt19937 random(8);
  DeviceWorld world(Behaviour::never_follows);
  const Asked asked = world.ask(random, {31}, {4, 7});
  DecodeOptions options = world.options(Mode::exact, 200);
  options.max_positions = 1000;
  expect_as_on_host(world, asked, options);
  expect_as_on_host(world, asked, options);
}

TEST(DeviceBackend, LaysOutNoMoreSlotsThanTheGraphsTake) {
  std::mt19937 random(14);
  for (const std::int64_t most : {70, 150}) {
    DeviceWorld world(
        Behaviour::never_follows, DataType::float32, {.least_slots = 1, .most_slots = most}
    );
    const Asked asked = world.ask(random, {31}, {4, 7});
    DecodeOptions options = world.options(Mode::exact, static_cast<std::int32_t>(most) - 7);
    options.max_positions = 1000;
    expect_as_on_host(world, asked, options);
    options.max_tokens = 400;
    EXPECT_THROW(world.decode_on_device(asked, options), DecodeError);
    for (const auto& pass : world.device_graphs.passes) EXPECT_LE(pass.suffix, most);
  }
}

TEST(DeviceBackend, TakesImagesThatLieOnTheDevice) {
  std::mt19937 random(9);
  DeviceWorld world;
  const Asked asked = world.ask(random, {31, kImageToken, kImageToken}, {4});
  Prompt prompt = asked.prompt();
  prompt.image_on_device = true;  // on this device that is memory like any other
  const auto options = world.options(Mode::constrained);
  const Decoding there = world.device_decoder.decode(world.model.form, prompt, options);
  expect_same(there.answers[0], world.decode(asked, options).answers[0]);
}

TEST(DeviceBackend, SaysWhereLogitsAreNotFiniteAndRecovers) {
  std::mt19937 random(10);
  DeviceWorld world;
  const Asked asked = world.ask(random, {31, 32}, {2, 1});
  const Asked longer =
      world.ask(random, {31, 32}, {50, 60});  // leaves NaN behind what is written next
  const auto options = world.options(Mode::constrained);
  const Decoding good = world.decode_on_device(asked, options);
  world.device_graphs.overflows_at = world.device_graphs.passes.size() + 1;
  try {
    world.decode_on_device(longer, options);
    FAIL() << "NaN was decoded";
  } catch (const BackendError& error) {
    EXPECT_NE(std::string(error.what()).find("NaN"), std::string::npos);
  }
  const Decoding again = world.decode_on_device(asked, options);
  for (std::size_t i = 0; i < 2; ++i) expect_same(again.answers[i], good.answers[i]);
}

TEST(DeviceBackend, RecoversFromAStepThatIsRefused) {
  std::mt19937 random(11);
  DeviceWorld world;
  const Asked asked = world.ask(random, {31, 32}, {4, 5});
  const auto options = world.options(Mode::constrained);
  const Decoding good = world.decode_on_device(asked, options);
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, {5, 64}, 1);  // no such token
  EXPECT_THROW(world.on_device.feed(step), InvalidInput);
  const Decoding again = world.decode_on_device(asked, options);
  for (std::size_t i = 0; i < 2; ++i) expect_same(again.answers[i], good.answers[i]);
}

TEST(DeviceBackend, RefusesLongerQuestionsThanTheGraphsTake) {
  std::mt19937 random(12);
  DeviceWorld world(
      Behaviour::follows_form, DataType::float32, {.least_slots = 1, .most_slots = 20}
  );
  const auto options = world.options(Mode::constrained);
  try {
    world.decode_on_device(world.ask(random, {31}, {19}), options);
    FAIL() << "a long question";
  } catch (const DecodeError& error) {
    EXPECT_NE(std::string(error.what()).find("at most 20"), std::string::npos) << error.what();
  }
}

TEST(DeviceBackend, RefusesAChoiceOfTheSameStep) {
  std::mt19937 random(13);
  DeviceWorld world;
  const Asked asked = world.ask(random, 1);
  begin(world, asked);
  Step step;
  add_run(step, 0, 0, {40, chosen(0)}, 1);
  EXPECT_THROW(world.on_device.feed(step), Error);
}

}  // namespace
}  // namespace edgepose
