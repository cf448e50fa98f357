// SPDX-License-Identifier: Apache-2.0
// What this is: memory that graphs and kernels work on, and the one queue in which that is done.
// Contract: everything is done in the order in which it was asked for, possibly later; only
// `synchronise` waits. Host memory of an `upload` stays untouched until then. One thread at a time.
#pragma once

#include "edgepose/choose_kernel.hpp"
#include "edgepose/decoder_kernels.hpp"
#include "edgepose/graphs.hpp"
#include "edgepose/image_kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <variant>

namespace edgepose {

using Kernel = std::variant<
    GatherKernel,
    RotateKernel,
    MaskKernel,
    WantKernel,
    AppendKernel,
    SpreadKernel,
    PenaliseKernel,
    ChooseKernel,
    WarpKernel,
    RemapKernel,
    ResampleKernel,
    PatchKernel>;

// What a device was asked for so far.
struct DeviceCounts {
  std::int64_t synchronisations = 0;
  std::int64_t launches = 0;  // of kernels, captured ones at their capture
  std::int64_t captures = 0;
  std::int64_t replays = 0;
  std::int64_t allocations = 0;
  std::int64_t bytes = 0;  // that are allocated now, on the device
};

class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  // Zeros, aligned to 256 bytes. Throws std::bad_alloc.
  std::byte* allocate(std::size_t bytes);
  // May wait for what is under way.
  void free(std::byte* memory, std::size_t bytes) noexcept;

  // Host memory that uploads and downloads are fast from and to.
  virtual std::byte* allocate_host(std::size_t bytes) = 0;
  virtual void free_host(std::byte* memory) noexcept = 0;

  virtual void upload(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void download(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void clear(std::byte* memory, std::size_t bytes) = 0;

  void launch(const Kernel& kernel);

  // Asks `graphs` to do its part in this queue; while capturing, that is what is captured.
  virtual void run(Graphs& graphs, std::int64_t handle) = 0;

  // Between these two nothing is done but remembered. `end_capture` returns its number; -1 where
  // something in it cannot be captured.
  virtual void begin_capture() = 0;
  std::int64_t end_capture();
  virtual void abort_capture() noexcept = 0;
  // Does all that was captured, with what memory holds now.
  void replay(std::int64_t capture);
  virtual void forget(std::int64_t capture) noexcept = 0;

  // Notes the time at which the queue gets here; any number of marks, from 0 on.
  virtual void mark(std::int64_t number) = 0;
  // Between two marks, once they are synchronised.
  virtual double seconds_between(std::int64_t from, std::int64_t to) = 0;

  // Waits until all is done. Throws what went wrong meanwhile.
  void synchronise();

  const DeviceCounts& counts() const noexcept { return counts_; }

 private:
  virtual std::byte* take(std::size_t bytes) = 0;
  virtual void give_back(std::byte* memory) noexcept = 0;
  virtual void enqueue(const Kernel& kernel) = 0;
  virtual std::int64_t finish_capture() = 0;
  virtual void enqueue_capture(std::int64_t capture) = 0;
  virtual void wait() = 0;

  DeviceCounts counts_;
};

// Owns memory of a device, which outlives it. Growing it discards the contents.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(Device& device) : device_(&device) {}
  ~DeviceBuffer() { release(); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  // Makes room for `bytes`, zeros where it is new; true when the memory moved.
  bool reserve(std::size_t bytes);
  bool holds(std::size_t bytes) const noexcept { return bytes <= capacity_ && memory_ != nullptr; }
  void erase();
  void swap(DeviceBuffer& other) noexcept;

  std::byte* data() noexcept { return memory_; }
  std::size_t capacity() const noexcept { return capacity_; }

  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(memory_);
  }

 private:
  void release() noexcept;

  Device* device_;
  std::byte* memory_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace edgepose
