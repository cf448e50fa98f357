// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_device.hpp"

#include "edgepose/error.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace edgepose {

namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::int32_t kLanes = 8;  // few, so that every alphabet is shared out

template <typename Each>
void run_body(const Each& kernel) {
  const std::int64_t count = kernel.count();
  for (std::int64_t index = 0; index < count; ++index) kernel(index);
}

void run_body(const ChooseKernel& kernel) {
  for (std::int64_t place = 0; place < kernel.groups(); ++place) {
    kernel(place, LoopGroup<kLanes>());
  }
}

std::byte* zeros(std::size_t bytes) {
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, rounded);
  return memory;
}

}  // namespace

void run_on_host(const Kernel& kernel) {
  std::visit([](const auto& each) { run_body(each); }, kernel);
}

std::byte* HostDevice::take(std::size_t bytes) { return zeros(bytes); }

// As on a GPU, memory goes when nobody works on it any more.
void HostDevice::give_back(std::byte* memory) noexcept {
  try {
    wait();
  } catch (...) {
    queue_.clear();
  }
  std::free(memory);
}

void HostDevice::free_host(std::byte* memory) noexcept { give_back(memory); }

std::byte* HostDevice::allocate_host(std::size_t bytes) { return zeros(bytes); }

void HostDevice::add(Task task) { (capturing_ ? captured_ : queue_).push_back(std::move(task)); }

void HostDevice::upload(std::byte* to, const std::byte* from, std::size_t bytes) {
  add([=] { std::memcpy(to, from, bytes); });
}

void HostDevice::download(std::byte* to, const std::byte* from, std::size_t bytes) {
  add([=] { std::memcpy(to, from, bytes); });
}

void HostDevice::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  add([=] { std::memcpy(to, from, bytes); });
}

void HostDevice::clear(std::byte* memory, std::size_t bytes) {
  add([=] { std::memset(memory, 0, bytes); });
}

void HostDevice::enqueue(const Kernel& kernel) {
  add([kernel] { run_on_host(kernel); });
}

void HostDevice::run(Graphs& graphs, std::int64_t handle) {
  add([&graphs, handle] { graphs.run(handle); });
}

void HostDevice::begin_capture() {
  captured_.clear();
  capturing_ = true;
}

void HostDevice::abort_capture() noexcept {
  captured_.clear();
  capturing_ = false;
}

std::int64_t HostDevice::finish_capture() {
  capturing_ = false;
  captures_[next_capture_] = std::exchange(captured_, {});
  return next_capture_++;
}

void HostDevice::enqueue_capture(std::int64_t capture) {
  const auto found = captures_.find(capture);
  if (found == captures_.end()) internal_error("host device", message("no capture ", capture));
  for (const Task& task : found->second) add(task);
}

void HostDevice::mark(std::int64_t number) {
  add([this, number] {
    const auto index = static_cast<std::size_t>(number);
    if (marks_.size() <= index) marks_.resize(index + 1);
    marks_[index] = std::chrono::steady_clock::now();
  });
}

double HostDevice::seconds_between(std::int64_t from, std::int64_t to) {
  const auto at = [&](std::int64_t number) { return marks_.at(static_cast<std::size_t>(number)); };
  return std::chrono::duration<double>(at(to) - at(from)).count();
}

void HostDevice::wait() {
  // What throws ends all that was asked for behind it.
  const std::vector<Task> tasks = std::exchange(queue_, {});
  for (const Task& task : tasks) task();
}

}  // namespace edgepose
