// SPDX-License-Identifier: Apache-2.0
// What this is: the work around the decoder's graphs that is done where the caches lie, one struct a
// kernel: its arguments, how many indices it has, and what is done at one index.
// Contract: indices are independent of each other, so that they may run in any order or at once. The
// same bodies run on the host (HostDevice) and on the GPU (cpp/cuda). Pointers are to device
// memory.
#pragma once

#include "edgepose/decoder_dims.hpp"
#include "edgepose/device_plan.hpp"
#include "edgepose/logits.hpp"
#include "edgepose/portable.hpp"

#include <cstddef>
#include <cstdint>

namespace edgepose {

// Rows are moved in units of this many bytes: the largest of 16 and 2 that divides a row.
EDGEPOSE_PORTABLE constexpr std::int64_t unit_of(std::int64_t row_bytes) noexcept {
  return row_bytes % 16 == 0 ? 16 : 2;
}

// `from` null: zeros.
EDGEPOSE_PORTABLE inline void move_unit(
    std::byte* to, const std::byte* from, std::int64_t unit
) noexcept {
  if (unit == 16) {
    auto* target = static_cast<std::byte*>(__builtin_assume_aligned(to, 16));
    if (from == nullptr) {
      __builtin_memset(target, 0, 16);
    } else {
      __builtin_memcpy(target, __builtin_assume_aligned(from, 16), 16);
    }
  } else if (from == nullptr) {
    __builtin_memset(to, 0, 2);
  } else {
    __builtin_memcpy(to, from, 2);
  }
}

// Rows of the embedding table, or of the image, go to their cells; and fed tokens to the history.
// An index is a unit of a cell. With `table` null tokens get zeros, as deepstack features want it.
struct GatherKernel {
  const PlanCell* cells = nullptr;
  std::int64_t cell_count = 0;
  std::int64_t row_bytes = 0;
  const std::byte* table = nullptr;  // (vocabulary, hidden)
  std::int32_t vocabulary = 0;
  const std::byte* image = nullptr;  // (image rows, hidden)
  const Choice* choices = nullptr;   //
  std::byte* target = nullptr;       // (cells, hidden)
  std::int32_t* history = nullptr;   // (questions, history_slots); null to keep none
  std::int64_t history_slots = 0;

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept {
    return cell_count * (row_bytes / unit_of(row_bytes));
  }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t unit = unit_of(row_bytes);
    const std::int64_t units = row_bytes / unit;
    const std::int64_t at = index % units * unit;
    const PlanCell& cell = cells[index / units];
    const std::byte* row = nullptr;
    if (cell.image >= 0) {
      row = image + cell.image * row_bytes;
    } else if (cell.real != 0 && table != nullptr) {
      std::int32_t token = cell.feed < 0 ? choices[-1 - cell.feed].token : cell.feed;
      // A choice from logits that are not finite means nothing, but it must not lead astray.
      if (token < 0 || token >= vocabulary) token = 0;
      row = table + token * row_bytes;
      if (at == 0 && history != nullptr && cell.question >= 0) {
        history[cell.question * history_slots + cell.slot] = token;
      }
    }
    move_unit(target + index / units * row_bytes + at, row == nullptr ? nullptr : row + at, unit);
  }
};

// Cosines and sines of each cell's position. An index is one element of one cell.
struct RotateKernel {
  const PlanCell* cells = nullptr;
  std::int64_t cell_count = 0;
  std::int64_t head_dim = 0;
  const float* cos_table = nullptr;    // (positions, head_dim)
  const float* sin_table = nullptr;    //
  const std::int32_t* axis = nullptr;  // (head_dim) that each frequency turns with: 0, 1, 2
  float* cos = nullptr;                // (cells, head_dim)
  float* sin = nullptr;

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return cell_count * head_dim; }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const PlanCell& cell = cells[index / head_dim];
    const std::int64_t i = index % head_dim;
    const std::int32_t place = axis[i] == 0 ? cell.time : axis[i] == 1 ? cell.row : cell.column;
    cos[index] = cos_table[place * head_dim + i];
    sin[index] = sin_table[place * head_dim + i];
  }
};

// Who sees whom. An index is one key of one cell.
struct MaskKernel {
  const PlanCell* cells = nullptr;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::int64_t prefix = 0;  // keys of the prefix segment
  std::int64_t suffix = 0;  // and of the suffix segment
  bool sees_prefix = true;  // false where that segment is a stand-in
  float* bias = nullptr;    // (rows, width, prefix + suffix + width)

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept {
    return rows * width * (prefix + suffix + width);
  }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t keys = prefix + suffix + width;
    const std::int64_t place = index / keys;
    const std::int64_t key = index % keys;
    const PlanCell& cell = cells[place];
    bool sees = false;
    if (key < prefix) {
      sees = sees_prefix;
    } else if (key < prefix + suffix) {
      sees = key - prefix < cell.visible;
    } else {
      const std::int64_t other = key - prefix - suffix;
      sees = other >= cell.first && other <= place % width;
    }
    bias[index] = sees && cell.real != 0 ? 0.0F : kMaskedScore;
  }
};

// Which cells the graph returns the hidden state of. An index is one of them.
struct WantKernel {
  const std::int32_t* columns = nullptr;  // (rows, looks)
  std::int64_t looks = 0;                 // of all rows
  std::int64_t* logit_positions = nullptr;

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return looks; }
  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    logit_positions[index] = columns[index];
  }
};

// New keys and values go to their slots. An index is a unit of one cell, one head and one plane.
struct AppendKernel {
  const PlanCell* cells = nullptr;
  std::int64_t cell_count = 0;
  std::int64_t planes = 0;  // layers * 2
  std::int64_t heads = 0;   // kv_heads, of a plane
  std::int64_t row_bytes = 0;
  const std::byte* fresh = nullptr;  // planes of (kv_heads, cells, head_dim)
  std::byte* suffix = nullptr;       // planes of (kv_heads, questions, capacity, head_dim)
  std::int64_t fresh_plane = 0;      // bytes from one to the next
  std::int64_t suffix_plane = 0;     //
  std::int64_t questions = 0;
  std::int64_t capacity = 0;

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept {
    return planes * heads * cell_count * (row_bytes / unit_of(row_bytes));
  }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t unit = unit_of(row_bytes);
    const std::int64_t units = row_bytes / unit;
    const std::int64_t plane = index / (units * cell_count * heads);
    const std::int64_t row = index / units % (cell_count * heads);
    const PlanCell& cell = cells[row % cell_count];
    if (cell.question < 0) return;
    const std::int64_t slot = (row / cell_count * questions + cell.question) * capacity + cell.slot;
    const std::int64_t at = index % units * unit;
    move_unit(
        suffix + plane * suffix_plane + slot * row_bytes + at,
        fresh + plane * fresh_plane + row * row_bytes + at,
        unit
    );
  }
};

// Rows move apart when suffixes get room for more. An index is a unit of an old row.
struct SpreadKernel {
  const std::byte* from = nullptr;  // planes of (rows, from_bytes)
  std::byte* to = nullptr;          // planes of (rows, to_bytes), elsewhere
  std::int64_t planes = 0;
  std::int64_t rows = 0;  // of a plane
  std::int64_t from_bytes = 0;
  std::int64_t to_bytes = 0;
  std::int64_t from_plane = 0;  // bytes from one to the next
  std::int64_t to_plane = 0;    //

  EDGEPOSE_PORTABLE std::int64_t unit() const noexcept {
    return unit_of(from_bytes) == 16 ? unit_of(to_bytes) : 2;
  }
  EDGEPOSE_PORTABLE std::int64_t count() const noexcept {
    return planes * rows * (from_bytes / unit());
  }
  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t units = from_bytes / unit();
    const std::int64_t plane = index / units / rows;
    const std::int64_t row = index / units % rows;
    const std::int64_t at = index % units * unit();
    move_unit(
        to + plane * to_plane + row * to_bytes + at,
        from + plane * from_plane + row * from_bytes + at,
        unit()
    );
  }
};

// The repetition penalty. Each look has `width` indices for the columns, which the prefix may have
// said, and `slots` for the tokens of its question's history: a token that the prefix has not said
// draws the penalty where it comes first. So each logit changes once, by one index.
struct PenaliseKernel {
  const PlanLook* looks = nullptr;
  std::int64_t look_count = 0;
  const PlanNumbers* numbers = nullptr;
  const std::uint32_t* prefix_said = nullptr;  // (vocabulary / 32) a bit a token
  const std::int32_t* history = nullptr;       // (questions, slots)
  std::int64_t slots = 0;
  const std::int32_t* tokens = nullptr;   // (width) of the columns; null: column = token
  const std::int32_t* columns = nullptr;  // (vocabulary) of the tokens, -1 for none; or null
  std::int64_t width = 0;
  float* logits = nullptr;  // (look_count, width)

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return look_count * (width + slots); }

  EDGEPOSE_PORTABLE bool said_by_prefix(std::int32_t token) const noexcept {
    return ((prefix_said[token / 32] >> (token % 32)) & 1U) != 0;
  }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t place = index / (width + slots);
    const std::int64_t k = index % (width + slots);
    const PlanLook& look = looks[place];
    if (look.alphabet < 0 || look.seen == 0) return;
    std::int64_t column = k;
    if (k < width) {
      if (!said_by_prefix(tokens == nullptr ? static_cast<std::int32_t>(k) : tokens[k])) return;
    } else {
      const std::int64_t slot = k - width;
      if (slot >= look.seen) return;
      const std::int32_t* own = history + look.question * slots;
      const std::int32_t token = own[slot];
      if (said_by_prefix(token)) return;
      for (std::int64_t before = 0; before < slot; ++before) {
        if (own[before] == token) return;
      }
      column = columns == nullptr ? token : columns[token];
      if (column < 0) return;
    }
    float& logit = logits[place * width + column];
    logit = logit < 0 ? logit * numbers->penalty : logit / numbers->penalty;
  }
};

}  // namespace edgepose
