// SPDX-License-Identifier: Apache-2.0
#include "edgepose/tensor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

namespace edgepose {
namespace {

static_assert(!std::is_copy_constructible_v<Buffer>);
static_assert(std::is_nothrow_move_constructible_v<Buffer>);

bool all_zero(const Buffer& buffer) {
  const std::byte* data = buffer.data();
  return std::all_of(data, data + buffer.capacity(), [](std::byte b) { return b == std::byte{0}; });
}

TEST(DataType, HasSizeAndNumpyName) {
  EXPECT_EQ(size_of(DataType::float16), 2U);
  EXPECT_EQ(size_of(DataType::float32), 4U);
  EXPECT_EQ(size_of(DataType::int64), 8U);
  EXPECT_EQ(name_of(DataType::float16), std::string("float16"));
  EXPECT_EQ(name_of(DataType::float32), std::string("float32"));
  EXPECT_EQ(name_of(DataType::int64), std::string("int64"));
}

TEST(Buffer, IsAlignedAndZero) {
  for (const std::size_t bytes : {1U, 63U, 64U, 65U, 1000U}) {
    Buffer buffer;
    EXPECT_TRUE(buffer.reserve(bytes));
    EXPECT_GE(buffer.capacity(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
    EXPECT_TRUE(all_zero(buffer));
  }
}

TEST(Buffer, HasMemoryEvenForNothing) {
  Buffer buffer;
  EXPECT_TRUE(buffer.reserve(0));
  EXPECT_NE(buffer.data(), nullptr);
  EXPECT_FALSE(buffer.reserve(0));
}

TEST(Buffer, StaysInPlaceWhileItFits) {
  Buffer buffer;
  buffer.reserve(100);
  buffer.as<float>()[0] = 3.0F;
  const std::byte* before = buffer.data();
  EXPECT_FALSE(buffer.reserve(100));
  EXPECT_FALSE(buffer.reserve(4));
  EXPECT_EQ(buffer.data(), before);
  EXPECT_EQ(buffer.as<float>()[0], 3.0F);
}

TEST(Buffer, GrowsToZeros) {
  Buffer buffer;
  buffer.reserve(64);
  buffer.as<float>()[0] = 3.0F;
  EXPECT_TRUE(buffer.reserve(4096));
  EXPECT_TRUE(all_zero(buffer));
}

TEST(Buffer, ErasesToZerosInPlace) {
  Buffer buffer;
  buffer.erase();  // nothing there yet
  buffer.reserve(64);
  std::fill_n(buffer.as<float>(), 16, 3.0F);
  const std::byte* before = buffer.data();
  buffer.erase();
  EXPECT_EQ(buffer.data(), before);
  EXPECT_TRUE(all_zero(buffer));
}

TEST(Buffer, Moves) {
  Buffer buffer;
  buffer.reserve(64);
  const std::byte* before = buffer.data();
  const Buffer moved = std::move(buffer);
  EXPECT_EQ(moved.data(), before);
}

}  // namespace
}  // namespace edgepose
