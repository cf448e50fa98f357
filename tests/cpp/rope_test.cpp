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
  rope.write(position, cos.data(), sin.data());
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
  EXPECT_THROW(rope.write(2, cos, sin), Error);
}

}  // namespace
}  // namespace edgepose
