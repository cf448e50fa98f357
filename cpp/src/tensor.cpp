// SPDX-License-Identifier: Apache-2.0
#include "edgepose/tensor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace edgepose {

namespace {
constexpr std::size_t kAlignment = 64;
}

std::size_t size_of(DataType type) noexcept {
  switch (type) {
    case DataType::float16:
      return 2;
    case DataType::float32:
      return 4;
    case DataType::int64:
      return 8;
  }
  return 0;
}

const char* name_of(DataType type) noexcept {
  switch (type) {
    case DataType::float16:
      return "float16";
    case DataType::float32:
      return "float32";
    case DataType::int64:
      return "int64";
  }
  return "";
}

void Buffer::Free::operator()(std::byte* memory) const noexcept { std::free(memory); }

bool Buffer::reserve(std::size_t bytes) {
  if (bytes <= capacity_ && memory_) return false;
  const std::size_t rounded =
      std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  memory_.reset();
  capacity_ = 0;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, rounded);
  memory_.reset(memory);
  capacity_ = rounded;
  return true;
}

void Buffer::erase() noexcept {
  if (memory_) std::memset(memory_.get(), 0, capacity_);
}

}  // namespace edgepose
