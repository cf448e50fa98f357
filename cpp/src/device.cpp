// SPDX-License-Identifier: Apache-2.0
#include "edgepose/device.hpp"

#include <algorithm>
#include <utility>

namespace edgepose {

std::byte* Device::allocate(std::size_t bytes) {
  std::byte* memory = take(std::max<std::size_t>(1, bytes));
  ++counts_.allocations;
  counts_.bytes += static_cast<std::int64_t>(bytes);
  return memory;
}

void Device::free(std::byte* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  give_back(memory);
  counts_.bytes -= static_cast<std::int64_t>(bytes);
}

void Device::launch(const Kernel& kernel) {
  ++counts_.launches;
  enqueue(kernel);
}

std::int64_t Device::end_capture() {
  const std::int64_t capture = finish_capture();
  if (capture >= 0) ++counts_.captures;
  return capture;
}

void Device::replay(std::int64_t capture) {
  ++counts_.replays;
  enqueue_capture(capture);
}

void Device::synchronise() {
  ++counts_.synchronisations;
  wait();
}

bool DeviceBuffer::reserve(std::size_t bytes) {
  if (holds(bytes)) return false;
  release();
  memory_ = device_->allocate(bytes);
  capacity_ = bytes;
  return true;
}

void DeviceBuffer::erase() {
  if (memory_ != nullptr) device_->clear(memory_, capacity_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(memory_, other.memory_);
  std::swap(capacity_, other.capacity_);
}

void DeviceBuffer::release() noexcept {
  device_->free(memory_, capacity_);
  memory_ = nullptr;
  capacity_ = 0;
}

}  // namespace edgepose
