// SPDX-License-Identifier: Apache-2.0
// What this is: a device in host memory that runs the kernels' bodies in loops. It proves on any
// machine what runs on a GPU: the bodies, the plans, the captures and who waits for whom.
// Contract: as lazy as a device may be: nothing is done before `synchronise`, so that whoever reads
// a result too early, or writes over an upload, is found out.
#pragma once

#include "edgepose/device.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <vector>

namespace edgepose {

class HostDevice final : public Device {
 public:
  ~HostDevice() override = default;

  std::byte* allocate_host(std::size_t bytes) override;
  void free_host(std::byte* memory) noexcept override;
  void upload(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void download(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void clear(std::byte* memory, std::size_t bytes) override;
  void run(Graphs& graphs, std::int64_t handle) override;
  void begin_capture() override;
  void abort_capture() noexcept override;
  void forget(std::int64_t capture) noexcept override { captures_.erase(capture); }
  void mark(std::int64_t number) override;
  double seconds_between(std::int64_t from, std::int64_t to) override;

 private:
  using Task = std::function<void()>;

  std::byte* take(std::size_t bytes) override;
  void give_back(std::byte* memory) noexcept override;
  void enqueue(const Kernel& kernel) override;
  std::int64_t finish_capture() override;
  void enqueue_capture(std::int64_t capture) override;
  void wait() override;
  void add(Task task);

  std::vector<Task> queue_;
  bool capturing_ = false;
  std::vector<Task> captured_;
  std::map<std::int64_t, std::vector<Task>> captures_;
  std::int64_t next_capture_ = 0;
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

// Runs a kernel's body at every index, here and now.
void run_on_host(const Kernel& kernel);

}  // namespace edgepose
