// SPDX-License-Identifier: Apache-2.0
// The decoder on answers in blocks, with branches and a repetition penalty.
#include "block_world.hpp"
#include "edgepose/block_codec.hpp"
#include "edgepose/decoder.hpp"
#include "edgepose/error.hpp"
#include "expectations.hpp"
#include "fake_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace edgepose {
namespace {

using testing::Asked;
using testing::Behaviour;
using testing::BlockWorld;
using testing::FakeWorld;
using testing::kBehaviours;
using testing::small_blocks;

// Decodes as the reference does, in constrained mode in a pass for each free token.
void expect_passes(
    BlockWorld& blocks, const Form& form, const Asked& asked, const DecodeOptions& options
) {
  const auto decoding = blocks.expect(form, asked, options);
  if (options.mode == Mode::exact) return;
  std::int64_t most = 0;
  std::int64_t all = 0;
  for (const Answer& answer : decoding.answers) {
    Grammar grammar(form);
    std::int64_t free = 0;
    for (const std::int32_t token : answer.tokens) {
      free += !grammar.forced();
      grammar.accept(token);
    }
    most = std::max(most, free);
    all += free;
  }
  EXPECT_EQ(decoding.passes.decode, most - 1);
  EXPECT_EQ(decoding.drafts.offered, 0);
  EXPECT_EQ(decoding.drafts.free, all);
}

TEST(BlockDecoder, EqualsReference) {
  std::mt19937 random(17);
  for (const Behaviour behaviour : kBehaviours) {
    BlockWorld blocks(behaviour);
    for (int round = 0; round < 4; ++round) {
      const Asked asked = blocks.world.ask(random, 1 + random() % 4);
      for (const Form& form : {blocks.codec.free(), blocks.codec.asked(std::vector{2, 0})}) {
        blocks.graphs.model().form = form;
        for (const float factor : {1.0F, 1.05F, 3.0F}) {
          DecodeOptions options = blocks.world.options(Mode::constrained);
          options.penalty = {.factor = factor, .image_token = 21};
          expect_passes(blocks, form, asked, options);
          options.penalise_numbers = true;
          expect_passes(blocks, form, asked, options);
          options.mode = Mode::exact;
          for (const std::int32_t budget : {1, 9, 50}) {
            options.max_tokens = budget;
            expect_passes(blocks, form, asked, options);
          }
        }
      }
    }
  }
}

TEST(BlockDecoder, ReadsNoChoiceOfAnAskedAnswerBeforeTheEnd) {
  // A backend whose choices are read once.
  class Deferring final : public Backend {
   public:
    explicit Deferring(Backend& inner) : inner_(&inner) {}
    const std::vector<Alphabet>& alphabets() const noexcept override { return inner_->alphabets(); }
    void begin(const Extent& extent) override { inner_->begin(extent); }
    void feed_prefix(const Prefix& prefix) override { inner_->feed_prefix(prefix); }
    void feed(const Step& step) override {
      inner_->feed(step);
      ++feeds;
    }
    std::span<const Choice> choices() override {
      read_after.push_back(feeds);
      return inner_->choices();
    }
    void truncate(std::int64_t question, std::int64_t length) override {
      inner_->truncate(question, length);
    }
    void retire(std::int64_t question) override { inner_->retire(question); }
    double graph_seconds() const noexcept override { return inner_->graph_seconds(); }

    int feeds = 0;
    std::vector<int> read_after;

   private:
    Backend* inner_;
  };
  std::mt19937 random(18);
  BlockWorld blocks(Behaviour::follows_form);
  const Asked asked = blocks.world.ask(random, 2);
  Deferring backend(blocks.backend);
  Decoder decoder(backend);
  const DecodeOptions options = blocks.world.options(Mode::constrained);
  decoder.decode(blocks.codec.asked(std::vector{0, 1}), asked.prompt(), options);
  EXPECT_EQ(backend.feeds, 4 + 5 * 2);
  EXPECT_EQ(backend.read_after, std::vector{backend.feeds});

  backend.read_after.clear();
  backend.feeds = 0;
  const auto decoding = decoder.decode(blocks.codec.free(), asked.prompt(), options);
  std::size_t most = 0;  // items
  for (const Answer& answer : decoding.answers) {
    const auto named = std::count_if(answer.tokens.begin(), answer.tokens.end(), [](auto token) {
      return token >= 25 && token <= 27;
    });
    most = std::max(most, static_cast<std::size_t>(named) / 2);
  }
  // At each of the first block's branches, a name or an end, and at the end.
  EXPECT_LE(backend.read_after.size(), 2 * 2 * (most + 1) + 1);
  EXPECT_GE(backend.read_after.size(), most + 1);
}

TEST(BlockDecoder, RefusesFormsOfAnotherCodec) {
  std::mt19937 random(19);
  FakeWorld world;
  const Asked asked = world.ask(random, 1);
  const BlockCodec other = small_blocks();
  EXPECT_THROW(
      world.decoder.decode(other.free(), asked.prompt(), world.options(Mode::exact)), InvalidInput
  );
  const DigitCodec twin({1}, testing::kTokens);  // another form over the same alphabets
  EXPECT_NO_THROW(world.decoder.decode(twin.form(), asked.prompt(), world.options(Mode::exact)));
}

}  // namespace
}  // namespace edgepose
