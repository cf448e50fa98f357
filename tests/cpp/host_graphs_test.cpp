// SPDX-License-Identifier: Apache-2.0
// What the graphs are bound to and given, how often, and what that allocates.
#include "edgepose/host_graphs.hpp"

#include "counting_new.hpp"
#include "edgepose/decoder.hpp"
#include "edgepose/error.hpp"
#include "edgepose/host_backend.hpp"
#include "fake_world.hpp"
#include "feeding.hpp"
#include "reference_decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
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

// Keeps what it was bound to.
class OpenGraphs final : public Graphs {
 public:
  std::int64_t
  bind(const std::string&, std::span<const TensorView> inputs, std::span<const TensorView>)
      override {
    bound.emplace_back();
    for (const TensorView& input : inputs) bound.back().emplace(input.name, input);
    return std::ssize(bound) - 1;
  }
  void run(std::int64_t handle) override { last = &bound[static_cast<std::size_t>(handle)]; }
  void release() override {}

  const TensorView& input(const std::string& name) const { return last->at(name); }

  std::deque<std::map<std::string, TensorView>> bound;
  const std::map<std::string, TensorView>* last = nullptr;
};

TEST(HostGraphs, AddsImageFeaturesInThePrefixAndNothingBehindIt) {
  const FakeWorld world;
  DecoderDims dims = world.dims;
  dims.deepstack = 2;
  OpenGraphs graphs;
  HostBackend backend(
      graphs, dims, world.embeddings.data(), world.codec.alphabets(), testing::answer_tokens()
  );
  const std::vector<std::int32_t> prefix = {31, kImageToken, kImageToken, 32};
  const std::vector<std::byte> image = world.rows(2);
  std::vector<float> features[2];
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (int k = 0; k < 2 * dims.hidden; ++k) {
      features[layer].push_back(static_cast<float>(100 * layer + 1) + static_cast<float>(k));
    }
  }
  const std::byte* rows[] = {
      reinterpret_cast<const std::byte*>(features[0].data()),
      reinterpret_cast<const std::byte*>(features[1].data())
  };
  backend.begin({4, 1, 20});
  backend.feed_prefix({prefix, image.data(), std::nullopt, rows});
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const TensorView& view = graphs.input("deepstack." + std::to_string(layer));
    EXPECT_EQ(view.shape, (std::vector<std::int64_t>{1, 4, dims.hidden}));
    const auto width = static_cast<std::size_t>(dims.hidden);
    const std::span all(static_cast<const float*>(view.data), 4 * width);
    EXPECT_TRUE(std::ranges::equal(all.subspan(width, 2 * width), features[layer]));
    for (const std::size_t text : {std::size_t{0}, 3 * width}) {
      for (const float value : all.subspan(text, width)) EXPECT_EQ(value, 0);
    }
  }
  Step step;
  add_run(step, 0, 0, {40, 41}, 0);
  backend.feed(step);
  const TensorView& view = graphs.input("deepstack.1");
  EXPECT_EQ(view.shape, (std::vector<std::int64_t>{1, 1, dims.hidden}));
  for (int k = 0; k < dims.hidden; ++k) EXPECT_EQ(static_cast<const float*>(view.data)[k], 0);

  backend.begin({4, 1, 20});
  EXPECT_THROW(backend.feed_prefix({prefix, image.data()}), InvalidInput);
  EXPECT_THROW(
      backend.feed_prefix({prefix, image.data(), std::nullopt, std::span(rows).first(1)}),
      InvalidInput
  );
  EXPECT_THROW(backend.feed_prefix({prefix, image.data(), ImageGrid{1, 2}, rows}), InvalidInput)
      << "positions are one number";
}

TEST(HostGraphs, GoesOnBehindTheLongerSideOfTheImage) {
  const FakeWorld world;
  DecoderDims dims = world.dims;
  dims.head_dim = 6;
  dims.rope_sections = {1, 1, 1};
  OpenGraphs graphs;
  HostBackend backend(
      graphs, dims, world.embeddings.data(), world.codec.alphabets(), testing::answer_tokens()
  );
  std::vector<std::int32_t> prefix(6, kImageToken);
  prefix.insert(prefix.begin(), 31);
  prefix.push_back(32);
  const std::vector<std::byte> image = world.rows(6);
  backend.begin({8, 1, 20});
  EXPECT_THROW(backend.feed_prefix({prefix, image.data()}), InvalidInput) << "no grid";
  const auto angle = [&](std::size_t cell, std::size_t i) {
    const auto* cos = static_cast<const float*>(graphs.input("cos").data);
    return std::acos(static_cast<double>(cos[cell * 6 + i]));
  };
  backend.begin({8, 1, 20});
  backend.feed_prefix({prefix, image.data(), ImageGrid{2, 3}});
  EXPECT_NEAR(angle(6, 0), 1, 1e-5);                                       // time
  EXPECT_NEAR(angle(6, 1), 2 / std::pow(dims.rope_theta, 1.0 / 3), 1e-3);  // row
  EXPECT_NEAR(angle(6, 2), 3 / std::pow(dims.rope_theta, 2.0 / 3), 1e-3);  // column
  EXPECT_NEAR(angle(7, 1), 4 / std::pow(dims.rope_theta, 1.0 / 3), 1e-3);
  Step step;
  add_run(step, 0, 0, {40, 41}, 0);
  backend.feed(step);
  EXPECT_NEAR(angle(0, 1), 5 / std::pow(dims.rope_theta, 1.0 / 3), 1e-3);
  EXPECT_NEAR(angle(1, 1), 6 / std::pow(dims.rope_theta, 1.0 / 3), 1e-3);
  backend.begin({1, 1, 20});
  EXPECT_THROW(
      backend.feed_prefix({std::span(prefix).first(1), nullptr, ImageGrid{2, 3}}), InvalidInput
  ) << "no image";
  EXPECT_NO_THROW(backend.feed_prefix({std::span(prefix).first(1)}));
}

// A suffix starts with 128 slots and doubles, up to what was announced.
TEST(HostGraphs, GrowsWithTheAnswer) {
  std::mt19937 random(18);
  FakeWorld world;
  const Asked asked = world.ask(random, {31, kImageToken}, {3, 100});
  for (int round = 0; round < 2; ++round) {
    world.graphs.passes.clear();
    begin(world, asked, 300);
    EXPECT_EQ(world.backend.cache().capacity(), 128);
    const auto releases = world.graphs.releases;
    std::vector<std::vector<testing::Code>> codes = {asked.codes(0), asked.codes(1)};
    std::vector<std::int32_t> fed = {3, 100};
    Step step;
    add_run(step, 0, 0, asked.questions[0], 1);
    add_run(step, 1, 0, asked.questions[1], 1);
    world.backend.feed(step);
    std::size_t look = 2;
    while (fed[1] < 300) {
      step.clear();
      for (std::int32_t i = 0; i < 2; ++i) {
        const auto q = static_cast<std::size_t>(i);
        const std::vector<Feed> feeds = {FakeWorld::word(random), testing::kAsk};
        add_run(step, i, fed[q], feeds, 1);
        codes[q].insert(codes[q].end(), feeds.begin(), feeds.end());
        fed[q] += 2;
      }
      world.backend.feed(step);
      EXPECT_EQ(world.backend.choices()[look++].token, best_digit(world, codes[0]));
      EXPECT_EQ(world.backend.choices()[look++].token, best_digit(world, codes[1]));
    }
    std::vector<std::int64_t> capacities;
    for (const auto& pass : world.graphs.passes) {
      if (capacities.empty() || capacities.back() != pass.suffix) capacities.push_back(pass.suffix);
    }
    EXPECT_EQ(capacities, (std::vector<std::int64_t>{0, 128, 256, 300}));
    if (round == 1) {
      EXPECT_EQ(world.graphs.releases, releases) << "the memory is there already";
    }
    step.clear();
    add_run(step, 1, 300, {40}, 1);
    EXPECT_THROW(world.backend.feed(step), DecodeError);
  }
}

TEST(HostGraphs, KeepsItsBindingsAndNotTooMany) {
  std::mt19937 random(12);
  FakeWorld world;
  const auto decode = [&](const Asked& asked) {
    const auto decoding = world.decode(asked, world.options(Mode::constrained));
    const auto expected =
        testing::reference_constrained(world.model, world.model.form, asked.codes(0));
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

TEST(HostGraphs, AllocatesNothingOnceItKnowsThePrompt) {
  const FakeWorld world;
  StillGraphs graphs;
  HostBackend backend(
      graphs, world.dims, world.embeddings.data(), world.codec.alphabets(), testing::answer_tokens()
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
    backend.feed_prefix({asked.prefix, asked.image.data()});
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

TEST(HostGraphs, DecodingAllocatesItsResultOnly) {
  const FakeWorld world;
  StillGraphs graphs;
  HostBackend backend(
      graphs, world.dims, world.embeddings.data(), world.codec.alphabets(), testing::answer_tokens()
  );
  Decoder decoder(backend);
  std::mt19937 random(14);
  const Asked asked = world.ask(random, 17);
  std::vector<DecodeOptions> all = {
      world.options(Mode::constrained), world.options(Mode::exact), world.options(Mode::exact, 200)
  };
  for (std::size_t k = 0; k < 3; ++k) {
    all.push_back(all[k]);
    all.back().penalty = {.factor = 1.05F, .image_token = 33};
    all.back().penalise_numbers = true;
  }
  for (const DecodeOptions& options : all) {
    decoder.decode(world.codec.form(), asked.prompt(), options);
    decoder.decode(world.codec.form(), asked.prompt(), options);
    const auto binds = graphs.binds;
    const auto releases = graphs.releases;
    const std::size_t before = testing::allocations();
    const auto decoding = decoder.decode(world.codec.form(), asked.prompt(), options);
    const std::size_t count = testing::allocations() - before;
    EXPECT_EQ(graphs.binds, binds) << "two prompts are enough for everything";
    EXPECT_EQ(graphs.releases, releases);
    // The list of answers, tokens and choices of each; the progress of the questions, and where
    // each stands and what it has drafted or chosen.
    std::size_t most = 2 + 4 * decoding.answers.size();
    // Answers that outgrow the form double tokens, choices and places now and then.
    if (options.max_tokens > 13) most += 12 * decoding.answers.size();
    EXPECT_LE(count, most);
  }
}

TEST(HostGraphs, OnePromptIsEnoughToBindTheDecodeSteps) {
  const FakeWorld world;
  StillGraphs graphs;
  HostBackend backend(
      graphs, world.dims, world.embeddings.data(), world.codec.alphabets(), testing::answer_tokens()
  );
  Decoder decoder(backend);
  std::mt19937 random(14);
  const Asked asked = world.ask(random, 17);
  for (const Mode mode : {Mode::constrained, Mode::exact}) {
    decoder.decode(world.codec.form(), asked.prompt(), world.options(mode));
    const auto decode_binds = graphs.decode_binds;
    const auto releases = graphs.releases;
    decoder.decode(world.codec.form(), asked.prompt(), world.options(mode));
    EXPECT_EQ(graphs.decode_binds, decode_binds);
    EXPECT_EQ(graphs.releases, releases);
  }
}

}  // namespace
}  // namespace edgepose
