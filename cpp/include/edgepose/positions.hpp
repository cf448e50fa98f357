// SPDX-License-Identifier: Apache-2.0
// What this is: where the tokens of a prompt stand, in time and in the image.
// Contract: text counts on along all three axes at once; the image rows of a grid share one time and
// have a row and a column. Without a grid an image row counts like text.
// Source: Qwen3-VL's rotary positions (transformers `get_rope_index`), one still image.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

// In a prefix, the next row of the image embeddings.
constexpr std::int32_t kImageToken = -1;

struct Position {
  std::int64_t time = 0;
  std::int64_t row = 0;
  std::int64_t column = 0;
  bool operator==(const Position&) const = default;
};

// Image rows in reading order.
struct ImageGrid {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Writes the position of each of `tokens`; returns that of the next text token, on all axes. Throws
// InvalidInput unless the image rows are as many as the grid has, one behind the other.
std::int64_t place_tokens(
    std::span<const std::int32_t> tokens,
    const std::optional<ImageGrid>& grid,
    std::vector<Position>& positions
);

}  // namespace edgepose
