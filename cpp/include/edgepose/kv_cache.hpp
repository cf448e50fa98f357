// SPDX-License-Identifier: Apache-2.0
// What this is: the keys and values of one shared prefix and of N suffixes behind it, host memory.
// Contract: fixed capacity until `reset` or `grow`; nothing is concatenated, nor moved but by these
// and `keep`. Where a suffix lies depends on the sizes alone.
//   prefix  (layers, 2, kv_heads, 1, P, head_dim)
//   suffix  (layers, 2, kv_heads, N, capacity, head_dim)
// Slot s of a suffix holds the s-th token behind the prefix. Slots at or beyond a suffix's length
// hold old but finite numbers: whoever reads them masks them (see Note [masked slots] in
// host_backend.cpp).
#pragma once

#include "edgepose/tensor.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

enum class KeyOrValue : std::uint8_t { key = 0, value = 1 };

class KvCache {
 public:
  struct Layout {
    std::int64_t layers = 0;
    std::int64_t kv_heads = 0;
    std::int64_t head_dim = 0;
    DataType type = DataType::float32;
  };

  // Where freshly computed keys and values lie: (kv_heads, rows, width, head_dim).
  struct Fresh {
    const std::byte* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t width = 0;
  };

  explicit KvCache(Layout layout);

  // Forgets everything and makes room; true when memory moved.
  bool reset(std::int64_t prefix, std::int64_t questions, std::int64_t capacity);

  // Makes room for `capacity` tokens a suffix, no fewer than now, and keeps all suffixes; true when
  // memory moved.
  bool grow(std::int64_t capacity);

  std::byte* prefix(std::int64_t layer, KeyOrValue which) noexcept;
  std::byte* suffix(std::int64_t layer, KeyOrValue which) noexcept;

  std::int64_t prefix_length() const noexcept { return prefix_length_; }
  std::int64_t questions() const noexcept { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t capacity() const noexcept { return capacity_; }
  std::int64_t length(std::int64_t question) const;

  // Copies `count` tokens of one layer from (row, column) of `fresh` to slots [slot, slot + count)
  // of `question`. Lengths change by `set_length`, once for all layers.
  void write(
      std::int64_t layer,
      KeyOrValue which,
      const Fresh& fresh,
      std::int64_t row,
      std::int64_t column,
      std::int64_t count,
      std::int64_t question,
      std::int64_t slot
  );

  // Throws DecodeError unless `question` has room for `length` tokens.
  void expect_room(std::int64_t question, std::int64_t length) const;

  // Overwrites all suffixes with zeros, as they must not keep a NaN (see Note [masked slots]).
  void erase() noexcept;

  // Declares that slots [0, length) of `question` are written. Throws DecodeError past the
  // capacity.
  void set_length(std::int64_t question, std::int64_t length);

  // Drops the tail of a suffix; nothing is erased.
  void truncate(std::int64_t question, std::int64_t length);

  // Keeps some of the suffixes, numbers ascending, and numbers them anew, from 0 on.
  void keep(std::span<const std::int64_t> questions);

  // Makes suffix `to` equal to suffix `from`. Copies length(from) slots of every layer.
  void fork(std::int64_t from, std::int64_t to);

 private:
  std::size_t token_bytes() const noexcept;   // one token of one head
  std::size_t prefix_bytes() const noexcept;  // one layer's keys (or values)
  std::size_t suffix_bytes() const noexcept;

  Layout layout_;
  std::int64_t prefix_length_ = 0;
  std::int64_t capacity_ = 0;
  std::vector<std::int64_t> lengths_;
  Buffer prefix_;
  Buffer suffix_;
};

}  // namespace edgepose
