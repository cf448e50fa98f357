// SPDX-License-Identifier: Apache-2.0
#include "edgepose/bin_packing.hpp"

#include "counting_new.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace edgepose {
namespace {

using Lengths = std::vector<std::int64_t>;

// Every question lies inside its row and overlaps no other; no row or column is for nothing.
void expect_sound(const Lengths& lengths, const Packing& packing) {
  ASSERT_EQ(packing.places.size(), lengths.size());
  std::vector<std::vector<int>> taken(
      static_cast<std::size_t>(packing.rows),
      std::vector<int>(static_cast<std::size_t>(packing.width))
  );
  for (std::size_t question = 0; question < lengths.size(); ++question) {
    const Place place = packing.places[question];
    ASSERT_GE(place.row, 0);
    ASSERT_LT(place.row, packing.rows);
    ASSERT_GE(place.column, 0);
    ASSERT_LE(place.column + lengths[question], packing.width);
    for (std::int64_t k = 0; k < lengths[question]; ++k) {
      ++taken[static_cast<std::size_t>(place.row)][static_cast<std::size_t>(place.column + k)];
    }
  }
  bool full_row = false;
  for (const auto& row : taken) {
    EXPECT_LE(*std::max_element(row.begin(), row.end()), 1);
    EXPECT_EQ(row.front(), 1);
    full_row = full_row || row.back() == 1;
  }
  EXPECT_TRUE(full_row);
}

double price_of(const Packing& packing, std::int64_t prefix, PackingCost cost) {
  const auto cells = static_cast<double>(packing.rows * packing.width);
  return cells * (cost.token + cost.pair * static_cast<double>(prefix + packing.width));
}

TEST(Pack, IsSoundAndNeverDearerThanPadding) {
  std::mt19937 random(1);
  Packer packer;
  Packing packing;
  Packing padded;
  for (int round = 0; round < 300; ++round) {
    Lengths lengths(1 + random() % 20);
    for (auto& length : lengths) length = static_cast<std::int64_t>(1 + random() % 40);
    const auto prefix = static_cast<std::int64_t>(random() % 300);
    const PackingCost cost{1.0, static_cast<double>(random() % 100) / 1e4};
    packer.pack(lengths, prefix, cost, packing);
    expect_sound(lengths, packing);
    pack_padded(lengths, padded);
    expect_sound(lengths, padded);
    EXPECT_LE(price_of(packing, prefix, cost), price_of(padded, prefix, cost));
  }
}

TEST(Pack, WastesNothingWhenOnlyTokensCost) {
  Packer packer;
  Packing packing;
  packer.pack(Lengths{5, 3, 2, 5, 1, 4}, 100, {1.0, 0.0}, packing);
  EXPECT_EQ(packing.rows * packing.width, 20);
  expect_sound({5, 3, 2, 5, 1, 4}, packing);
}

TEST(Pack, PadsWhenPairsAreDear) {
  Packer packer;
  Packing packing;
  packer.pack(Lengths{5, 4, 5}, 0, {0.0, 1.0}, packing);
  EXPECT_EQ(packing.rows, 3);
  EXPECT_EQ(packing.width, 5);
}

TEST(Pack, KeepsEqualQuestionsInTheirOwnRows) {
  Packer packer;
  Packing packing;
  packer.pack(Lengths{4, 4, 4}, 10, {1.0, 0.01}, packing);
  EXPECT_EQ(packing.rows, 3);
  EXPECT_EQ(packing.width, 4);
}

TEST(Pack, TakesASingleQuestion) {
  Packer packer;
  Packing packing;
  packer.pack(Lengths{7}, 3, {1.0, 1.0}, packing);
  EXPECT_EQ(packing.rows, 1);
  EXPECT_EQ(packing.width, 7);
  EXPECT_EQ(packing.places[0].column, 0);
}

TEST(Pack, AllocatesNothingTheSecondTime) {
  const Lengths lengths = {9, 1, 30, 4, 4, 12, 7};
  Packer packer;
  Packing packing;
  packer.pack(lengths, 50, {1.0, 0.001}, packing);
  const std::size_t before = testing::allocations();
  packer.pack(lengths, 50, {1.0, 0.001}, packing);
  EXPECT_EQ(testing::allocations() - before, 0U);
}

}  // namespace
}  // namespace edgepose
