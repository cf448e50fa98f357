// SPDX-License-Identifier: Apache-2.0
#include "edgepose/bin_codec.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace edgepose {
namespace {

constexpr std::int32_t kBins = 1000;
constexpr std::int32_t kFirst = 151669;  // of the bins' tokens

std::vector<std::int32_t> tokens_of(std::int32_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), kFirst);
  return tokens;
}

struct Range {
  double low;
  double high;
};

// Metres across and along the axis, pixels of published frames, and ranges of no beauty.
constexpr std::array<Range, 8> kRanges = {
    {{-2.5, 2.5}, {0, 4}, {0, 1400}, {0, 1066}, {0, 1}, {-0.1, 0.3}, {1e6, 1e6 + 10}, {-7, -3}}
};

BinCodec codec_of(const Range& range, std::int32_t count = kBins) {
  return {range.low, range.high, tokens_of(count)};
}

BinCodec across() { return codec_of({-2.5, 2.5}); }
BinCodec depth() { return codec_of({0, 4}); }

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(BinCodec, DecodesThePublishedPoints) {
  EXPECT_NEAR(across().decode(394), -0.5280, 5e-5);
  EXPECT_NEAR(across().decode(559), 0.2978, 5e-5);
  EXPECT_NEAR(depth().decode(416), 1.6657, 5e-5);
  EXPECT_NEAR(across().decode(314), -0.9284, 5e-5);
  EXPECT_NEAR(across().decode(612), 0.5631, 5e-5);
  EXPECT_NEAR(depth().decode(456), 1.8258, 5e-5);
}

TEST(BinCodec, DecodesThePublishedPixels) {
  const BinCodec frame = codec_of({0, 1400});
  EXPECT_NEAR(frame.decode(261), 365.766, 5e-4);
  EXPECT_NEAR(frame.decode(630), 882.883, 5e-4);
}

TEST(BinCodec, DecodesAsThePublishedFormulasDo) {
  const BinCodec frame = codec_of({0, 1066});
  for (std::int32_t bin = 0; bin < kBins; ++bin) {
    // Equal but for the last bit, which a compiler that fuses product and sum may change.
    EXPECT_DOUBLE_EQ(frame.decode(bin), bin / 999.0 * 1066);
    EXPECT_NEAR(across().decode(bin), bin / 999.0 * 5.0 - 2.5, 1e-15);
    EXPECT_DOUBLE_EQ(depth().decode(bin), bin / 999.0 * 4.0);
  }
}

TEST(BinCodec, EndsOfTheRangeAreBins) {
  for (const BinCodec& codec : {across(), depth(), codec_of({0, 1400})}) {
    EXPECT_EQ(codec.decode(0), codec.low());
    EXPECT_EQ(codec.decode(kBins - 1), codec.high());
    EXPECT_EQ(codec.encode(codec.low()), 0);
    EXPECT_EQ(codec.encode(codec.high()), kBins - 1);
    EXPECT_EQ(codec.encode_floor(codec.low()), 0);
    EXPECT_EQ(codec.encode_floor(codec.high()), kBins - 1);
  }
}

TEST(BinCodec, EveryBinReturns) {
  for (const Range& range : kRanges) {
    for (const std::int32_t count : {2, 3, 10, kBins, 4096}) {
      const BinCodec codec = codec_of(range, count);
      ASSERT_EQ(codec.count(), count);
      for (std::int32_t bin = 0; bin < count; ++bin) {
        ASSERT_EQ(codec.encode(codec.decode(bin)), bin) << range.low;
      }
    }
  }
}

TEST(BinCodec, NearestBinIsAtMostHalfAStepAway) {
  std::mt19937 random(11);
  for (const Range& range : kRanges) {
    const BinCodec codec = codec_of(range);
    const double half = (range.high - range.low) / (kBins - 1) / 2;
    const double rounding = 4 * std::numeric_limits<double>::epsilon() *
                            std::max(std::abs(range.low), std::abs(range.high));
    std::uniform_real_distribution<double> uniform(range.low, range.high);
    for (int round = 0; round < 2000; ++round) {
      const double number = uniform(random);
      EXPECT_LE(std::abs(codec.decode(codec.encode(number)) - number), half + rounding);
    }
  }
  // 2.5 mm across, 2 mm along the axis.
  EXPECT_NEAR((across().decode(1) - across().decode(0)) / 2, 0.0025, 3e-6);
  EXPECT_NEAR((depth().decode(1) - depth().decode(0)) / 2, 0.0020, 3e-6);
}

TEST(BinCodec, EncodesPromptsAsPublished) {
  std::mt19937 random(12);
  std::uniform_real_distribution<double> uniform(-400, 1800);
  const BinCodec codec = codec_of({0, 1400});
  for (int round = 0; round < 2000; ++round) {
    const double number = uniform(random);
    const double share = std::min(1.0, std::max(0.0, number / 1400));
    EXPECT_EQ(codec.encode_floor(number), static_cast<int>(share * 999)) << number;
  }
  EXPECT_EQ(codec.encode_floor(1399.999), 998);
  EXPECT_EQ(codec.encode_floor(-1e300), 0);
  EXPECT_EQ(codec.encode_floor(1e300), 999);
  for (const Range& range : kRanges) {
    for (std::int32_t bin = 0; bin + 1 < kBins; ++bin) {
      const BinCodec any = codec_of(range);
      const double number = any.decode(bin) + 0.75 * (any.decode(bin + 1) - any.decode(bin));
      ASSERT_EQ(any.encode_floor(number), bin) << range.low;
      ASSERT_EQ(any.encode(number), bin + 1) << range.low;
    }
  }
}

TEST(BinCodec, RefusesWhatHasNoBin) {
  const BinCodec codec = across();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double number : {-2.5000001, 2.5000001, 1e300, -1e300, infinity, -infinity}) {
    EXPECT_THROW(codec.encode(number), InvalidInput) << number;
  }
  EXPECT_THROW(codec.encode(std::nan("")), InvalidInput);
  for (const double number : {infinity, -infinity, std::nan("")}) {
    EXPECT_THROW(codec.encode_floor(number), InvalidInput) << number;
  }
  for (const std::int32_t bin :
       {-1,
        kBins,
        std::numeric_limits<std::int32_t>::min(),
        std::numeric_limits<std::int32_t>::max()}) {
    EXPECT_THROW(codec.decode(bin), InvalidInput) << bin;
  }
  EXPECT_EQ(
      message_of([&] { codec.encode(3.25); }), "[bin codec] a number in [-2.5, 2.5]; got 3.25"
  );
  EXPECT_EQ(message_of([&] { codec.decode(1000); }), "[bin codec] a bin from 0 to 999; got 1000");
}

TEST(BinCodec, RefusesRangesWithoutSense) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Range& range :
       {Range{1, 1},
        {2, 1},
        {std::nan(""), 1},
        {0, std::nan("")},
        {0, infinity},
        {-infinity, 0},
        {-1.7e308, 1.7e308}}) {
    EXPECT_THROW(codec_of(range), InvalidInput) << range.low << " to " << range.high;
  }
  EXPECT_THROW(BinCodec(0, 1, {}), BundleError);
  EXPECT_THROW(BinCodec(0, 1, {7}), BundleError);
  EXPECT_EQ(
      message_of([] { BinCodec(0, 1, {9, 5, 7, 5}); }),
      "[bin codec] a token of its own for each bin; got token 5 twice"
  );
  EXPECT_NO_THROW(BinCodec(0, 1, {9, 5}));
}

TEST(BinCodec, ReadsWhatWasChosen) {
  const BinCodec codec = across();
  for (std::int32_t bin = 0; bin < kBins; ++bin) {
    const Choice sure = {
        .token = kFirst + bin, .probability = 1, .share = 1, .mean = static_cast<double>(bin)
    };
    const Number number = codec.read(sure);
    EXPECT_EQ(number.value, codec.decode(bin));
    EXPECT_NEAR(number.expected, number.value, 1e-12);
    // What is left is the rounding to a bin.
    EXPECT_NEAR(number.deviation, 5.0 / 999 / std::sqrt(12), 1e-12);
  }
}

TEST(BinCodec, ReadsTokensInAnyOrder) {
  const BinCodec codec(0, 4, {30, 10, 50, 20, 40});
  EXPECT_EQ(codec.bins().tokens, (std::vector<std::int32_t>{30, 10, 50, 20, 40}));
  EXPECT_EQ(codec.read({.token = 50, .mean = 2}).value, 2);
  EXPECT_EQ(codec.read({.token = 40, .mean = 4}).value, 4);
}

TEST(BinCodec, DistributionEqualsTheSumOverAllNumbers) {
  std::mt19937 random(13);
  for (const Range& range : kRanges) {
    const BinCodec codec = codec_of(range);
    const double step = (range.high - range.low) / (kBins - 1);
    for (const double width : {0.3, 2.0, 40.0, 1e4}) {
      // Two peaks of that width in bins, with noise; further tokens stand before and after the
      // bins.
      std::uniform_real_distribution<float> uniform(-1, 1);
      std::vector<float> logits(kBins + 40);
      for (float& logit : logits) logit = uniform(random) - 30;
      std::vector<std::int32_t> columns(kBins);
      std::uniform_int_distribution<std::int32_t> any_bin(0, kBins - 1);
      const double left = any_bin(random);
      const double right = any_bin(random);
      for (std::int32_t bin = 0; bin < kBins; ++bin) {
        const double a = std::exp(-0.5 * std::pow((bin - left) / width, 2));
        const double b = std::exp(-0.5 * std::pow((bin - right) / width, 2));
        const auto column = static_cast<std::size_t>(20 + bin);
        columns[static_cast<std::size_t>(bin)] = 20 + bin;
        logits[column] = static_cast<float>(std::log(a + 0.3 * b + 1e-9)) + 0.1F * uniform(random);
      }
      const Number number = codec.read(choose_among(logits, columns, codec.bins()));

      std::size_t best = 0;
      double total = 0;
      double mean = 0;
      const auto weight = [&](std::size_t bin) {
        return std::exp(static_cast<double>(logits[20 + bin]));
      };
      for (std::size_t bin = 0; bin < kBins; ++bin) {
        if (logits[20 + bin] > logits[20 + best]) best = bin;
        total += weight(bin);
        mean += weight(bin) * (codec.decode(static_cast<std::int32_t>(bin)) - range.low);
      }
      mean /= total;
      double variance = step * step / 12;
      for (std::size_t bin = 0; bin < kBins; ++bin) {
        const double distance = codec.decode(static_cast<std::int32_t>(bin)) - range.low - mean;
        variance += weight(bin) / total * distance * distance;
      }
      EXPECT_EQ(number.value, codec.decode(static_cast<std::int32_t>(best)));
      EXPECT_NEAR((number.expected - range.low - mean) / step, 0, 1e-5);
      EXPECT_NEAR(number.deviation / std::sqrt(variance), 1, 1e-5);
    }
  }
}

TEST(BinCodec, ReadsOnlyItsOwnTokens) {
  const BinCodec codec = depth();
  EXPECT_THROW(codec.read({.token = kFirst - 1}), DecodeError);
  EXPECT_THROW(codec.read({.token = kFirst + kBins}), DecodeError);
  EXPECT_EQ(
      message_of([&] { codec.read({}); }),
      "[bin codec] a token of one of 1000 bins; got token -1; read the answer's text instead"
  );
}

}  // namespace
}  // namespace edgepose
