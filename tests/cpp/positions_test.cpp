// SPDX-License-Identifier: Apache-2.0
#include "edgepose/positions.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace edgepose {
namespace {

constexpr std::int32_t kImage = kImageToken;
using Positions = std::vector<Position>;

std::int64_t place(
    const std::vector<std::int32_t>& tokens, std::optional<ImageGrid> grid, Positions& positions
) {
  return place_tokens(tokens, grid, positions);
}

TEST(Positions, CountTextAndImageAlikeWithoutAGrid) {
  Positions positions = {{9, 9, 9}};
  EXPECT_EQ(place({5, kImage, kImage, 7}, std::nullopt, positions), 4);
  EXPECT_EQ(positions, (Positions{{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}}));
}

// Two words, an image of 2 x 3, two words: text goes on behind the longer side.
TEST(Positions, LayAnImageOut) {
  Positions positions;
  const std::vector<std::int32_t> tokens = {
      5, 6, kImage, kImage, kImage, kImage, kImage, kImage, 7, 8
  };
  EXPECT_EQ(place(tokens, ImageGrid{2, 3}, positions), 7);
  EXPECT_EQ(
      positions,
      (Positions{
          {0, 0, 0},
          {1, 1, 1},
          {2, 2, 2},
          {2, 2, 3},
          {2, 2, 4},
          {2, 3, 2},
          {2, 3, 3},
          {2, 3, 4},
          {5, 5, 5},
          {6, 6, 6}
      })
  );
  EXPECT_EQ(place(tokens, ImageGrid{6, 1}, positions), 10);
  EXPECT_EQ(positions[7], (Position{2, 7, 2}));
  EXPECT_EQ(positions[8], (Position{8, 8, 8}));
}

TEST(Positions, TakeAnImageAtEitherEnd) {
  Positions positions;
  EXPECT_EQ(place({kImage, kImage, 5}, ImageGrid{1, 2}, positions), 3);
  EXPECT_EQ(positions, (Positions{{0, 0, 0}, {0, 0, 1}, {2, 2, 2}}));
  EXPECT_EQ(place({5, kImage, kImage}, ImageGrid{2, 1}, positions), 3);
  EXPECT_EQ(positions, (Positions{{0, 0, 0}, {1, 1, 1}, {1, 2, 1}}));
}

TEST(Positions, RefuseAnImageThatIsNotOfTheGrid) {
  Positions positions;
  const auto refused = [&](const std::vector<std::int32_t>& tokens, ImageGrid grid) {
    try {
      place(tokens, grid, positions);
    } catch (const InvalidInput& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NE(
      refused({5, kImage, kImage}, {1, 3}).find("2 image rows; got 1 x 3"), std::string::npos
  );
  EXPECT_NE(refused({kImage, kImage}, {0, 2}).find("got 0 x 2"), std::string::npos);
  EXPECT_NE(refused({kImage, kImage}, {-1, -2}).find("got -1 x -2"), std::string::npos);
  EXPECT_NE(refused({5}, {1, 1}).find("0 image rows"), std::string::npos);
  EXPECT_NE(refused({kImage, 5, kImage}, {1, 2}).find("further rows"), std::string::npos);
  const std::int64_t huge = std::int64_t{1} << 62;
  EXPECT_NE(refused({kImage, kImage}, {huge, huge}).find("2 image rows"), std::string::npos);
}

}  // namespace
}  // namespace edgepose
