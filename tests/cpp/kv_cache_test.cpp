// SPDX-License-Identifier: Apache-2.0
#include "edgepose/kv_cache.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgepose {
namespace {

constexpr KvCache::Layout kLayout{2, 3, 4, DataType::float32};

float mark(std::int64_t layer, KeyOrValue which, std::int64_t head, std::int64_t token) {
  return static_cast<float>(
      token * 1000 + layer * 100 + static_cast<std::int64_t>(which) * 10 + head + 1
  );
}

// Fresh keys or values (kv_heads, rows, width, head_dim); cell (row, column) is token row * width +
// column.
std::vector<float> fresh_of(
    std::int64_t layer, KeyOrValue which, std::int64_t rows, std::int64_t width
) {
  std::vector<float> fresh;
  for (std::int64_t head = 0; head < kLayout.kv_heads; ++head) {
    for (std::int64_t cell = 0; cell < rows * width; ++cell) {
      for (std::int64_t k = 0; k < kLayout.head_dim; ++k) {
        fresh.push_back(mark(layer, which, head, cell) + static_cast<float>(k) / 8);
      }
    }
  }
  return fresh;
}

// Writes cells (row, column) to (row, column + count) of a (rows, width) pass in all layers.
void write_all(
    KvCache& cache,
    std::int64_t rows,
    std::int64_t width,
    std::int64_t row,
    std::int64_t column,
    std::int64_t count,
    std::int64_t question,
    std::int64_t slot
) {
  for (std::int64_t layer = 0; layer < kLayout.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const auto fresh = fresh_of(layer, which, rows, width);
      const KvCache::Fresh source{reinterpret_cast<const std::byte*>(fresh.data()), rows, width};
      cache.write(layer, which, source, row, column, count, question, slot);
    }
  }
  cache.set_length(question, slot + count);
}

// The tokens that a suffix holds, -1 where it still has its zeros.
std::vector<int> tokens_in(KvCache& cache, std::int64_t question) {
  std::vector<int> tokens;
  for (std::int64_t slot = 0; slot < cache.capacity(); ++slot) {
    const auto* first = reinterpret_cast<const float*>(cache.suffix(0, KeyOrValue::key));
    const float found = first[(question * cache.capacity() + slot) * kLayout.head_dim];
    const int token = found == 0 ? -1 : static_cast<int>(found) / 1000;
    tokens.push_back(token);
    for (std::int64_t layer = 0; layer < kLayout.layers; ++layer) {
      for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
        const auto* data = reinterpret_cast<const float*>(cache.suffix(layer, which));
        for (std::int64_t head = 0; head < kLayout.kv_heads; ++head) {
          for (std::int64_t k = 0; k < kLayout.head_dim; ++k) {
            const auto row = (head * cache.questions() + question) * cache.capacity() + slot;
            const float expected =
                token < 0 ? 0 : mark(layer, which, head, token) + static_cast<float>(k) / 8;
            EXPECT_EQ(data[row * kLayout.head_dim + k], expected)
                << "layer " << layer << ", head " << head << ", slot " << slot;
          }
        }
      }
    }
  }
  return tokens;
}

TEST(KvCache, AppendsBehindEachOther) {
  KvCache cache(kLayout);
  EXPECT_TRUE(cache.reset(5, 2, 6));
  EXPECT_EQ(cache.prefix_length(), 5);
  EXPECT_EQ(cache.questions(), 2);
  EXPECT_EQ(cache.capacity(), 6);
  write_all(cache, 2, 4, 1, 1, 2, 0, 0);
  write_all(cache, 2, 4, 0, 0, 3, 0, 2);
  write_all(cache, 2, 4, 1, 3, 1, 1, 0);
  EXPECT_EQ(cache.length(0), 5);
  EXPECT_EQ(cache.length(1), 1);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{5, 6, 0, 1, 2, -1}));
  EXPECT_EQ(tokens_in(cache, 1), (std::vector<int>{7, -1, -1, -1, -1, -1}));
}

TEST(KvCache, PlanesOfThePrefixDoNotOverlap) {
  KvCache cache(kLayout);
  cache.reset(5, 1, 1);
  const std::int64_t plane = kLayout.kv_heads * 5 * kLayout.head_dim;
  float number = 1;
  for (std::int64_t layer = 0; layer < kLayout.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      auto* data = reinterpret_cast<float*>(cache.prefix(layer, which));
      for (std::int64_t i = 0; i < plane; ++i) data[i] = number++;
    }
  }
  number = 1;
  for (std::int64_t layer = 0; layer < kLayout.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const auto* data = reinterpret_cast<const float*>(cache.prefix(layer, which));
      for (std::int64_t i = 0; i < plane; ++i) ASSERT_EQ(data[i], number++);
    }
  }
}

TEST(KvCache, TruncatesAndWritesAgain) {
  KvCache cache(kLayout);
  cache.reset(1, 1, 5);
  write_all(cache, 1, 5, 0, 0, 5, 0, 0);
  cache.truncate(0, 5);
  cache.truncate(0, 2);
  EXPECT_EQ(cache.length(0), 2);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, 2, 3, 4}));  // nothing is erased
  write_all(cache, 1, 9, 0, 7, 2, 0, 2);
  EXPECT_EQ(cache.length(0), 4);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, 7, 8, 4}));
  cache.truncate(0, 0);
  EXPECT_EQ(cache.length(0), 0);
}

TEST(KvCache, TruncateOnlyShortens) {
  KvCache cache(kLayout);
  cache.reset(1, 1, 5);
  write_all(cache, 1, 3, 0, 0, 3, 0, 0);
  EXPECT_THROW(cache.truncate(0, 4), Error);
  EXPECT_THROW(cache.truncate(0, -1), Error);
  EXPECT_EQ(cache.length(0), 3);
}

TEST(KvCache, Forks) {
  KvCache cache(kLayout);
  cache.reset(2, 3, 4);
  write_all(cache, 1, 3, 0, 0, 3, 2, 0);
  cache.fork(2, 0);
  EXPECT_EQ(cache.length(0), 3);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, 2, -1}));
  EXPECT_EQ(tokens_in(cache, 1), (std::vector<int>{-1, -1, -1, -1}));
  // The two go on apart.
  write_all(cache, 1, 9, 0, 8, 1, 0, 3);
  cache.truncate(2, 1);
  EXPECT_EQ(cache.length(2), 1);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, 2, 8}));
  EXPECT_EQ(tokens_in(cache, 2), (std::vector<int>{0, 1, 2, -1}));
  // Over a longer one, and onto itself.
  cache.fork(2, 0);
  EXPECT_EQ(cache.length(0), 1);
  cache.fork(0, 0);
  EXPECT_EQ(cache.length(0), 1);
}

TEST(KvCache, KeepsSomeSuffixesUnderNewNumbers) {
  KvCache cache(kLayout);
  cache.reset(2, 5, 4);
  for (std::int64_t question = 0; question < 5; ++question) {
    write_all(cache, 1, 50, 0, 10 * question, 1 + question % 3, question, 0);
  }
  const std::byte* before = cache.suffix(0, KeyOrValue::key);
  const std::int64_t kept[] = {0, 2, 4};
  cache.keep(kept);
  EXPECT_EQ(cache.suffix(0, KeyOrValue::key), before);
  EXPECT_EQ(cache.questions(), 3);
  EXPECT_EQ(cache.length(0), 1);
  EXPECT_EQ(cache.length(1), 3);
  EXPECT_EQ(cache.length(2), 2);
  const auto expect_begins = [&](std::int64_t question, std::vector<std::int64_t> tokens) {
    for (std::int64_t layer = 0; layer < kLayout.layers; ++layer) {
      for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
        const auto* data = reinterpret_cast<const float*>(cache.suffix(layer, which));
        for (std::int64_t head = 0; head < kLayout.kv_heads; ++head) {
          for (std::size_t slot = 0; slot < tokens.size(); ++slot) {
            const auto row = (head * 3 + question) * 4 + static_cast<std::int64_t>(slot);
            EXPECT_EQ(data[row * kLayout.head_dim], mark(layer, which, head, tokens[slot]));
          }
        }
      }
    }
  };
  expect_begins(0, {0});
  expect_begins(1, {20, 21, 22});
  expect_begins(2, {40, 41});
  write_all(cache, 1, 50, 0, 42, 1, 2, 2);  // and goes on
  expect_begins(2, {40, 41, 42});
  cache.keep(std::span<const std::int64_t>(kept, 1));
  EXPECT_EQ(cache.questions(), 1);
  const std::int64_t twice[] = {0, 0};
  EXPECT_THROW(cache.keep(twice), Error);
  const std::int64_t gone[] = {1};
  EXPECT_THROW(cache.keep(gone), Error);
  EXPECT_EQ(cache.questions(), 1);
}

TEST(KvCache, RefusesWhatDoesNotFitNamingIt) {
  KvCache cache(kLayout);
  cache.reset(1, 2, 4);
  EXPECT_NO_THROW(cache.expect_room(1, 4));
  try {
    cache.set_length(1, 5);
    FAIL() << "nothing was thrown";
  } catch (const DecodeError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("question 1"), std::string::npos) << text;
    EXPECT_NE(text.find("room for 4"), std::string::npos) << text;
    EXPECT_NE(text.find("; 5 "), std::string::npos) << text;
  }
  EXPECT_EQ(cache.length(1), 0);
  const std::vector<float> fresh = fresh_of(0, KeyOrValue::key, 1, 5);
  const KvCache::Fresh source{reinterpret_cast<const std::byte*>(fresh.data()), 1, 5};
  EXPECT_THROW(cache.write(0, KeyOrValue::key, source, 0, 0, 5, 1, 0), Error);
  EXPECT_THROW(cache.write(0, KeyOrValue::key, source, 0, 0, 2, 1, 3), Error);
  EXPECT_THROW(cache.length(2), std::out_of_range);
}

TEST(KvCache, MovesOnlyToGrow) {
  KvCache cache(kLayout);
  EXPECT_TRUE(cache.reset(4, 2, 8));
  const std::byte* before = cache.suffix(0, KeyOrValue::key);
  EXPECT_FALSE(cache.reset(4, 2, 8));
  EXPECT_FALSE(cache.reset(3, 4, 4));
  EXPECT_EQ(cache.suffix(0, KeyOrValue::key), before);
  EXPECT_TRUE(cache.reset(400, 4, 4));
  EXPECT_TRUE(cache.reset(1, 40, 4));
  EXPECT_EQ(cache.length(39), 0);
}

TEST(KvCache, GrowsAndKeepsItsContents) {
  KvCache cache(kLayout);
  cache.reset(2, 3, 2);
  write_all(cache, 1, 50, 0, 0, 2, 0, 0);
  write_all(cache, 1, 50, 0, 10, 1, 1, 0);
  write_all(cache, 1, 50, 0, 20, 2, 2, 0);
  EXPECT_TRUE(cache.grow(5));
  EXPECT_EQ(cache.capacity(), 5);
  EXPECT_EQ(cache.length(1), 1);
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, -1, -1, -1}));
  EXPECT_EQ(tokens_in(cache, 1), (std::vector<int>{10, -1, -1, -1, -1}));
  EXPECT_EQ(tokens_in(cache, 2), (std::vector<int>{20, 21, -1, -1, -1}));
  // Where the memory is there already, nothing but the suffixes moves in it.
  cache.reset(2, 3, 2);
  for (const std::int64_t question : {0, 1, 2}) {
    write_all(cache, 1, 50, 0, 10 * question, 2, question, 0);
  }
  EXPECT_FALSE(cache.grow(4));
  for (const std::int64_t question : {0, 1, 2}) {
    EXPECT_EQ(cache.length(question), 2);
    write_all(cache, 1, 50, 0, 10 * question + 2, 2, question, 2);
  }
  EXPECT_EQ(tokens_in(cache, 0), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(tokens_in(cache, 1), (std::vector<int>{10, 11, 12, 13}));
  EXPECT_EQ(tokens_in(cache, 2), (std::vector<int>{20, 21, 22, 23}));
  EXPECT_FALSE(cache.grow(4));
  EXPECT_THROW(cache.grow(3), Error);
}

TEST(KvCache, ErasesAllSuffixes) {
  KvCache cache(kLayout);
  cache.reset(1, 2, 3);
  write_all(cache, 1, 3, 0, 0, 3, 1, 0);
  cache.erase();
  EXPECT_EQ(tokens_in(cache, 1), (std::vector<int>{-1, -1, -1}));
}

}  // namespace
}  // namespace edgepose
