// SPDX-License-Identifier: Apache-2.0
#include "edgepose/rope.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace edgepose {
namespace {

void expect_angles(const Rope& rope, std::int64_t head_dim, double theta, std::int64_t position) {
  std::vector<float> cos(static_cast<std::size_t>(head_dim));
  std::vector<float> sin(static_cast<std::size_t>(head_dim));
  rope.write({position, position, position}, cos.data(), sin.data());
  for (std::int64_t i = 0; i < head_dim; ++i) {
    const std::int64_t pair = i % (head_dim / 2);
    const double angle =
        static_cast<double>(position) /
        std::pow(theta, 2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
    const auto k = static_cast<std::size_t>(i);
    EXPECT_NEAR(cos[k], std::cos(angle), 1e-6) << "position " << position << ", element " << i;
    EXPECT_NEAR(sin[k], std::sin(angle), 1e-6) << "position " << position << ", element " << i;
  }
}

TEST(Rope, WritesTheAnglesOfThePosition) {
  for (const std::int64_t head_dim : {2, 8, 64, 128}) {
    for (const double theta : {1e4, 5e6}) {
      Rope rope(head_dim, theta);
      rope.reserve(400);
      for (const std::int64_t position : {0, 1, 263, 399}) {
        expect_angles(rope, head_dim, theta, position);
      }
    }
  }
}

// Sections 3, 2, 1 of six frequencies: T H W T H T.
TEST(Rope, TurnsEachFrequencyWithItsAxis) {
  const std::vector<std::int64_t> sections = {3, 2, 1};
  Rope rope(12, 1e4, sections);
  rope.reserve(50);
  float cos[12];
  float sin[12];
  rope.write({7, 30, 49}, cos, sin);
  const double positions[] = {7, 30, 49, 7, 30, 7};
  for (std::size_t i = 0; i < 12; ++i) {
    const double angle = positions[i % 6] / std::pow(1e4, 2.0 * static_cast<double>(i % 6) / 12);
    EXPECT_NEAR(cos[i], std::cos(angle), 1e-6) << i;
    EXPECT_NEAR(sin[i], std::sin(angle), 1e-6) << i;
  }
  EXPECT_THROW(rope.write({7, 50, 8}, cos, sin), Error);
}

// Qwen3-VL's 24, 20, 20 of 64: three in turn up to frequency 59, then time alone.
TEST(Rope, InterleavesThePublishedSections) {
  const std::vector<std::int64_t> sections = {24, 20, 20};
  Rope rope(128, 5e6, sections);
  rope.reserve(100);
  std::vector<float> cos(128), sin(128), row(128), column(128), time(128);
  rope.write({11, 60, 99}, cos.data(), sin.data());
  rope.write({11, 11, 11}, time.data(), sin.data());
  rope.write({60, 60, 60}, row.data(), sin.data());
  rope.write({99, 99, 99}, column.data(), sin.data());
  for (std::size_t i = 0; i < 64; ++i) {
    const auto& expected = i < 60 && i % 3 == 1 ? row : i < 60 && i % 3 == 2 ? column : time;
    EXPECT_EQ(cos[i], expected[i]) << i;
    EXPECT_EQ(cos[64 + i], expected[i]) << i;
  }
}

TEST(Rope, RefusesSectionsThatDoNotFit) {
  for (const std::vector<std::int64_t>& sections :
       {std::vector<std::int64_t>{2, 1}, {2, 1, 2}, {6, -1, -1}, {1, 1, 1, 1}}) {
    EXPECT_THROW(Rope(8, 1e4, sections), BundleError);
  }
}

TEST(Rope, KeepsWhatIsReadyWhenItGrows) {
  Rope rope(8, 1e4);
  rope.reserve(3);
  rope.reserve(10);
  rope.reserve(5);
  for (std::int64_t position = 0; position < 10; ++position) expect_angles(rope, 8, 1e4, position);
}

TEST(Rope, RefusesPositionsThatAreNotReady) {
  Rope rope(4, 1e4);
  rope.reserve(2);
  float cos[4];
  float sin[4];
  EXPECT_THROW(rope.write({2, 2, 2}, cos, sin), Error);
}

}  // namespace
}  // namespace edgepose
