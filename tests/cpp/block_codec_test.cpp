// SPDX-License-Identifier: Apache-2.0
#include "edgepose/block_codec.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace edgepose {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::int32_t kEnd = 2;
constexpr std::int32_t kComma = 5;
constexpr std::int32_t kBlank = 6;
constexpr std::int32_t kBoxStart = 10, kPlaneStart = 11, kSpaceStart = 12;
constexpr std::int32_t kBoxEnd = 20, kPlaneEnd = 21, kSpaceEnd = 22;
constexpr std::int32_t kLeft = 30, kRight = 31, kHead = 32;

BlockTokens tokens() {
  BlockTokens result{
      .bins = {},
      .joints = {kLeft, kRight, kHead},
      .starts = {kBoxStart, kPlaneStart, kSpaceStart},
      .ends = {kBoxEnd, kPlaneEnd, kSpaceEnd},
      .end = kEnd
  };
  for (std::int32_t bin = 0; bin < 1000; ++bin) result.bins.push_back(1000 + bin);
  return result;
}

BlockLayout layout() {
  BlockLayout plain;
  plain.blocks = {Block::box, Block::kpt2d, Block::kpt3d};
  return plain;
}

BlockCodec plain() { return {tokens(), layout()}; }

constexpr std::int32_t bin(std::int32_t number) { return 1000 + number; }

// Takes `answer` where it goes: how many of its tokens are free, and -1 where it leaves the form.
int free_tokens(const Form& form, const Tokens& answer) {
  Grammar grammar(form);
  int free = 0;
  for (const std::int32_t token : answer) {
    free += !grammar.forced();
    if (!grammar.accept(token)) return -1;
  }
  return grammar.finished() ? free : -1;
}

Answer answer_of(const Tokens& answer, double probability = 1) {
  Answer result;
  result.tokens = answer;
  for (const std::int32_t token : answer) {
    const double index = token >= bin(0) ? token - bin(0) : 0;
    result.choices.push_back({.token = token, .probability = probability, .mean = index});
  }
  return result;
}

std::vector<int> bins_of(const std::vector<Number>& numbers) {
  std::vector<int> bins;
  for (const Number& number : numbers)
    bins.push_back(static_cast<int>(std::lround(999 * number.value)));
  return bins;
}

const Tokens kTwoJoints = {kBoxStart,   bin(1),  bin(2),    bin(3),  bin(4),  kBoxEnd, kPlaneStart,
                           kRight,      bin(10), bin(11),   kLeft,   bin(12), bin(13), kPlaneEnd,
                           kSpaceStart, kRight,  bin(20),   bin(21), bin(22), kLeft,   bin(23),
                           bin(24),     bin(25), kSpaceEnd, kEnd};

TEST(BlockCodec, AskedAnswersLeaveTheBinsFree) {
  const BlockCodec codec = plain();
  const Form form = codec.asked(std::array{1, 0});
  EXPECT_EQ(form.longest(), 11 + 7 * 2);
  EXPECT_EQ(form.looks(), 4 + 5 * 2);
  EXPECT_EQ(free_tokens(form, kTwoJoints), 4 + 5 * 2);
  EXPECT_EQ(free_tokens(codec.asked(std::array{0, 1}), kTwoJoints), -1);
  EXPECT_EQ(form.alphabets(), codec.alphabets());
  EXPECT_EQ(codec.alphabets()[0].tokens, tokens().bins);
}

TEST(BlockCodec, FreeAnswersChooseJointsAndTheEndOfTheFirstBlock) {
  const BlockCodec codec = plain();
  EXPECT_EQ(codec.free().items(), 3);
  EXPECT_EQ(codec.free().longest(), 11 + 7 * 3);
  EXPECT_EQ(codec.free().looks(), 4 + 3 + 5 * 3);
  EXPECT_EQ(free_tokens(codec.free(), kTwoJoints), 4 + 2 + 1 + 5 * 2);
  const Tokens nobody = {
      kBoxStart,
      bin(1),
      bin(2),
      bin(3),
      bin(4),
      kBoxEnd,
      kPlaneStart,
      kPlaneEnd,
      kSpaceStart,
      kSpaceEnd,
      kEnd
  };
  EXPECT_EQ(free_tokens(codec.free(), nobody), 4 + 1);
}

TEST(BlockCodec, TheFirstBlockOfKeypointsChoosesWhicheverItIs) {
  BlockLayout order;
  order.blocks = {Block::kpt3d, Block::kpt2d};
  const BlockCodec codec(tokens(), order);
  const Tokens answer = {
      kSpaceStart,
      kHead,
      bin(1),
      bin(2),
      bin(3),
      kSpaceEnd,
      kPlaneStart,
      kHead,
      bin(4),
      bin(5),
      kPlaneEnd,
      kEnd
  };
  EXPECT_EQ(free_tokens(codec.free(), answer), 1 + 3 + 1 + 2);
  EXPECT_EQ(free_tokens(codec.asked(std::array{2}), answer), 5);
}

TEST(BlockCodec, SeparatorsStandWhereTheLayoutHasThem) {
  BlockLayout commas = layout();
  commas.between_numbers = {kComma, kBlank};
  commas.after_box_start = {kBlank};
  commas.between_box_numbers = {kComma};
  commas.before_box_end = {kComma};
  commas.after_start = {kBlank};
  commas.after_name = {kBlank};
  commas.between_joints = {kComma, kBlank};
  commas.before_end = {kComma};
  commas.between_blocks = {kBlank};
  commas.after_blocks = {kBlank};
  const BlockCodec codec(tokens(), commas);
  const Tokens answer = {kBoxStart, kBlank,    bin(1), kComma,      bin(2), kComma,      bin(3),
                         kComma,    bin(4),    kComma, kBoxEnd,     kBlank, kPlaneStart, kBlank,
                         kLeft,     kBlank,    bin(1), kComma,      kBlank, bin(2),      kComma,
                         kBlank,    kHead,     kBlank, bin(1),      kComma, kBlank,      bin(2),
                         kComma,    kPlaneEnd, kBlank, kSpaceStart, kBlank, kLeft,       kBlank,
                         bin(1),    kComma,    kBlank, bin(2),      kComma, kBlank,      bin(3),
                         kComma,    kBlank,    kHead,  kBlank,      bin(1), kComma,      kBlank,
                         bin(2),    kComma,    kBlank, bin(3),      kComma, kSpaceEnd,   kBlank,
                         kEnd};
  EXPECT_EQ(free_tokens(codec.asked(std::array{0, 2}), answer), 4 + 5 * 2);
  // First joint, whether to go on (behind the comma that both have), second joint, whether again.
  EXPECT_EQ(free_tokens(codec.free(), answer), 4 + 5 * 2 + 4);
}

TEST(BlockCodec, RefusesJointsThatItDoesNotKnow) {
  const BlockCodec codec = plain();
  EXPECT_THROW(codec.asked(std::span<const std::int32_t>()), InvalidInput);
  EXPECT_THROW(codec.asked(std::array{0, 3}), InvalidInput);
  EXPECT_THROW(codec.asked(std::array{-1}), InvalidInput);
  EXPECT_THROW(codec.asked(std::array{1, 0, 1}), InvalidInput);
}

TEST(BlockCodec, RefusesTokensOfTwoMeanings) {
  const auto refused = [](auto change) {
    BlockTokens changed = tokens();
    BlockLayout other = layout();
    change(changed, other);
    EXPECT_THROW(BlockCodec(changed, other), BundleError);
  };
  refused([](BlockTokens& t, BlockLayout&) { t.joints[0] = t.bins[0]; });
  refused([](BlockTokens& t, BlockLayout&) { t.joints[0] = t.joints[1]; });
  refused([](BlockTokens& t, BlockLayout&) { t.ends[0] = t.starts[2]; });
  refused([](BlockTokens& t, BlockLayout&) { t.end = t.ends[2]; });
  refused([](BlockTokens& t, BlockLayout&) { t.bins.resize(1); });
  refused([](BlockTokens& t, BlockLayout&) { t.joints.clear(); });
  refused([](BlockTokens&, BlockLayout& l) { l.between_joints = {kHead}; });
  refused([](BlockTokens&, BlockLayout& l) { l.after_blocks = {kEnd}; });
  refused([](BlockTokens&, BlockLayout& l) { l.blocks.clear(); });
  refused([](BlockTokens&, BlockLayout& l) { l.blocks.push_back(Block::box); });
}

TEST(BlockCodec, ReadsWholeAnswers) {
  const BlockAnswer read = plain().read(answer_of(kTwoJoints, 0.5));
  EXPECT_EQ(bins_of(read.box), (std::vector{1, 2, 3, 4}));
  ASSERT_EQ(read.points.size(), 2U);
  EXPECT_EQ(read.points[0].joint, 1);
  EXPECT_EQ(bins_of(read.points[0].xy), (std::vector{10, 11}));
  EXPECT_EQ(bins_of(read.points[0].xyz), (std::vector{20, 21, 22}));
  EXPECT_EQ(read.points[1].joint, 0);
  EXPECT_EQ(bins_of(read.points[1].xyz), (std::vector{23, 24, 25}));
  EXPECT_NEAR(read.points[0].probability, 0.5, 1e-12);
  const Number& x = read.points[0].xy[0];
  EXPECT_DOUBLE_EQ(x.value, 10.0 / 999);
  EXPECT_DOUBLE_EQ(x.expected, 10.0 / 999);
  EXPECT_NEAR(x.deviation, std::sqrt(1.0 / 12) / 999, 1e-15);
}

TEST(BlockCodec, ProbabilityIsTheGeometricMeanOfTheNumbers) {
  Answer answer = answer_of({kPlaneStart, kLeft, bin(1), bin(2), kPlaneEnd});
  answer.choices[1].probability = 0.001;  // of the name: does not count
  answer.choices[2].probability = 0.9;
  answer.choices[3].probability = 0.4;
  EXPECT_NEAR(plain().read(answer).points.at(0).probability, std::sqrt(0.36), 1e-12);
}

TEST(BlockCodec, PassesOverUnknownTokens) {
  Tokens noisy;
  for (const std::int32_t token : kTwoJoints) noisy.insert(noisy.end(), {kBlank, token, 777});
  const BlockAnswer read = plain().read(answer_of(noisy));
  EXPECT_EQ(bins_of(read.box), (std::vector{1, 2, 3, 4}));
  EXPECT_EQ(read.points.size(), 2U);
}

TEST(BlockCodec, KeepsABlockThatIsCutOff) {
  const BlockCodec codec = plain();
  for (std::size_t length = 0; length <= kTwoJoints.size(); ++length) {
    const auto read = codec.read(
        answer_of({kTwoJoints.begin(), kTwoJoints.begin() + static_cast<std::ptrdiff_t>(length)})
    );
    EXPECT_EQ(read.box.size(), length >= 5 ? 4U : 0U) << length;
    EXPECT_EQ(read.points.size(), (length >= 10 ? 1U : 0U) + (length >= 13 ? 1U : 0U)) << length;
    if (length >= 10) {
      EXPECT_EQ(read.points[0].xyz.size(), length >= 19 ? 3U : 0U) << length;
    }
  }
}

TEST(BlockCodec, DropsWhatLacksNumbers) {
  const BlockAnswer read = plain().read(
      answer_of({kBoxStart, bin(1), bin(2), bin(3), kBoxEnd,   kPlaneStart, kLeft, bin(5),
                 kRight,    bin(6), bin(7), kHead,  kPlaneEnd, kSpaceStart, kLeft, bin(1),
                 bin(2),    bin(3), kHead,  bin(4), bin(5),    kSpaceEnd})
  );
  EXPECT_TRUE(read.box.empty());
  ASSERT_EQ(read.points.size(), 2U);
  EXPECT_EQ(read.points[0].joint, 1);
  EXPECT_TRUE(read.points[0].xyz.empty());
  EXPECT_EQ(read.points[1].joint, 0);
  EXPECT_TRUE(read.points[1].xy.empty());
  EXPECT_EQ(bins_of(read.points[1].xyz), (std::vector{1, 2, 3}));
}

TEST(BlockCodec, TheFirstBlockAndTheFirstNumbersCount) {
  const BlockAnswer read = plain().read(answer_of(
      {bin(9),      kLeft,     bin(9), bin(9),  // outside all blocks
       kPlaneStart, bin(8),    kLeft,  bin(1), bin(2), bin(3),      bin(4), kLeft,  bin(5),
       bin(6),      kPlaneEnd, kHead,  bin(9), bin(9), kPlaneStart, kRight, bin(5), bin(6),
       kPlaneEnd,   kBoxStart, bin(1), kLeft,  bin(2), bin(3),      bin(4), bin(5), kBoxEnd,
       kBoxStart,   bin(1),    bin(2), bin(3), bin(4), kBoxEnd}
  ));
  ASSERT_EQ(read.points.size(), 1U);
  EXPECT_EQ(bins_of(read.points[0].xy), (std::vector{1, 2}));
  EXPECT_TRUE(read.box.empty());
}

TEST(BlockCodec, AStartInsideABlockEndsIt) {
  const BlockAnswer read = plain().read(answer_of(
      {kBoxStart,
       bin(1),
       bin(2),
       kPlaneStart,
       kLeft,
       bin(3),
       bin(4),
       kSpaceStart,
       bin(5),
       kLeft,
       bin(6),
       bin(7),
       bin(8)}
  ));
  EXPECT_TRUE(read.box.empty());
  ASSERT_EQ(read.points.size(), 1U);
  EXPECT_EQ(bins_of(read.points[0].xy), (std::vector{3, 4}));
  EXPECT_EQ(bins_of(read.points[0].xyz), (std::vector{6, 7, 8}));
}

}  // namespace
}  // namespace edgepose
