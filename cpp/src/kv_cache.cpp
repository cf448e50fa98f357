// SPDX-License-Identifier: Apache-2.0
#include "edgepose/kv_cache.hpp"

#include "edgepose/error.hpp"

#include <cstring>
#include <utility>

namespace edgepose {

namespace {

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

std::size_t plane(std::int64_t layer, KeyOrValue which) noexcept {
  return as_size(2 * layer + static_cast<std::int64_t>(which));
}

}  // namespace

KvCache::KvCache(Layout layout) : layout_(layout) {}

std::size_t KvCache::token_bytes() const noexcept {
  return as_size(layout_.head_dim) * size_of(layout_.type);
}

std::size_t KvCache::prefix_bytes() const noexcept {
  return as_size(layout_.kv_heads * prefix_length_) * token_bytes();
}

std::size_t KvCache::suffix_bytes() const noexcept {
  return as_size(layout_.kv_heads * questions() * capacity_) * token_bytes();
}

bool KvCache::reset(std::int64_t prefix, std::int64_t questions, std::int64_t capacity) {
  prefix_length_ = prefix;
  capacity_ = capacity;
  lengths_.assign(as_size(questions), 0);
  const auto planes = as_size(2 * layout_.layers);
  const bool prefix_moved = prefix_.reserve(planes * prefix_bytes());
  const bool suffix_moved = suffix_.reserve(planes * suffix_bytes());
  return prefix_moved || suffix_moved;
}

bool KvCache::grow(std::int64_t capacity) {
  if (capacity < capacity_) {
    internal_error("kv cache", message("grow to ", capacity, " from ", capacity_));
  }
  // One row holds the slots of one layer, kind, head and question.
  const std::int64_t rows = 2 * layout_.layers * layout_.kv_heads * questions();
  const std::size_t before = as_size(capacity_) * token_bytes();
  const std::size_t after = as_size(capacity) * token_bytes();
  Buffer larger;
  const bool moves = as_size(rows) * after > suffix_.capacity();
  if (moves) larger.reserve(as_size(rows) * after);
  std::byte* target = moves ? larger.data() : suffix_.data();
  // Rows only move up, so the last goes first.
  for (std::int64_t row = rows - 1; row >= 0; --row) {
    std::memmove(target + as_size(row) * after, suffix_.data() + as_size(row) * before, before);
  }
  if (moves) suffix_ = std::move(larger);
  capacity_ = capacity;
  return moves;
}

std::byte* KvCache::prefix(std::int64_t layer, KeyOrValue which) noexcept {
  return prefix_.data() + plane(layer, which) * prefix_bytes();
}

std::byte* KvCache::suffix(std::int64_t layer, KeyOrValue which) noexcept {
  return suffix_.data() + plane(layer, which) * suffix_bytes();
}

std::int64_t KvCache::length(std::int64_t question) const { return lengths_.at(as_size(question)); }

void KvCache::write(
    std::int64_t layer,
    KeyOrValue which,
    const Fresh& fresh,
    std::int64_t row,
    std::int64_t column,
    std::int64_t count,
    std::int64_t question,
    std::int64_t slot
) {
  if (slot + count > capacity_) {
    internal_error("kv cache", message("slots up to ", slot + count, " of ", capacity_));
  }
  const std::size_t token = token_bytes();
  std::byte* cache = suffix(layer, which);
  for (std::int64_t head = 0; head < layout_.kv_heads; ++head) {
    const auto from = as_size((head * fresh.rows + row) * fresh.width + column);
    const auto to = as_size((head * questions() + question) * capacity_ + slot);
    std::memcpy(cache + to * token, fresh.data + from * token, as_size(count) * token);
  }
}

void KvCache::expect_room(std::int64_t question, std::int64_t length) const {
  EDGEPOSE_CHECK(
      length <= capacity_,
      DecodeError,
      "[kv cache] question ",
      question,
      " has room for ",
      capacity_,
      " tokens; ",
      length,
      " are to be held; announce a larger extent"
  );
}

void KvCache::set_length(std::int64_t question, std::int64_t length) {
  expect_room(question, length);
  lengths_.at(as_size(question)) = length;
}

void KvCache::erase() noexcept { suffix_.erase(); }

void KvCache::truncate(std::int64_t question, std::int64_t new_length) {
  if (new_length < 0 || new_length > length(question)) {
    internal_error("kv cache", message("truncate to ", new_length, " of ", length(question)));
  }
  lengths_[as_size(question)] = new_length;
}

void KvCache::keep(std::span<const std::int64_t> kept) {
  const std::int64_t before = questions();
  std::int64_t number = -1;
  for (const std::int64_t question : kept) {
    if (question <= number || question >= before) {
      internal_error("kv cache", message("keep ", question, " behind ", number, " of ", before));
    }
    number = question;
  }
  // Rows only move down, so the first goes first.
  const std::size_t row = as_size(capacity_) * token_bytes();
  std::byte* target = suffix_.data();
  for (std::int64_t head = 0; head < 2 * layout_.layers * layout_.kv_heads; ++head) {
    for (const std::int64_t question : kept) {
      const std::byte* source = suffix_.data() + as_size(head * before + question) * row;
      if (source != target) std::memmove(target, source, as_size(length(question)) * token_bytes());
      target += row;
    }
  }
  for (std::size_t k = 0; k < kept.size(); ++k) lengths_[k] = lengths_[as_size(kept[k])];
  lengths_.resize(kept.size());
}

void KvCache::fork(std::int64_t from, std::int64_t to) {
  if (from == to) return;
  const std::int64_t count = length(from);
  set_length(to, count);
  for (std::int64_t layer = 0; layer < layout_.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const Fresh source{suffix(layer, which), questions(), capacity_};
      write(layer, which, source, from, 0, count, to, 0);
    }
  }
}

}  // namespace edgepose
