// SPDX-License-Identifier: Apache-2.0
#include "edgepose/staging.hpp"

#include <algorithm>

namespace edgepose {

namespace {
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kLeastBlock = std::size_t{1} << 18;
}  // namespace

Staging::~Staging() {
  for (const Block& block : blocks_) device_->free_host(block.memory);
}

std::byte* Staging::piece(std::size_t bytes) {
  const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (block_ < blocks_.size() && used_ + size > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t largest = blocks_.empty() ? kLeastBlock : 2 * blocks_.back().size;
    const std::size_t room = std::max(size, largest);
    blocks_.reserve(blocks_.size() + 1);
    blocks_.push_back({device_->allocate_host(room), room});
  }
  std::byte* piece = blocks_[block_].memory + used_;
  used_ += size;
  return piece;
}

void Staging::clear() noexcept {
  block_ = 0;
  used_ = 0;
}

}  // namespace edgepose
