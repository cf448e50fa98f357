// SPDX-License-Identifier: Apache-2.0
// What this is: a GPU as a device: its memory, one stream of it, kernels, captures.
// Contract: see Device. Everything goes through one stream that does not wait for the default one.
// Throws BackendUnavailable where there is no GPU or driver, BackendError where a call fails.
#pragma once

#include "edgepose/device.hpp"

#include <cstdint>
#include <cuda_runtime_api.h>
#include <map>
#include <string>
#include <vector>

namespace edgepose {

// What a GPU is.
struct GpuTraits {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  bool integrated = false;  // shares the host's memory, as on Jetson
  std::int64_t total_bytes = 0;
  int driver_version = 0;   // 1000 * major + 10 * minor of the CUDA version that the driver knows
  int runtime_version = 0;  // the same of the library that is linked in
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int number);
  ~CudaDevice() override;

  cudaStream_t stream() const noexcept { return stream_; }
  const GpuTraits& traits() const noexcept { return traits_; }

  // Bytes that are free on the GPU.
  std::int64_t free_bytes() const;

  // The address at which the GPU sees memory of `allocate_host`.
  std::byte* seen_by_gpu(std::byte* host) const;

  std::byte* allocate_host(std::size_t bytes) override;
  void free_host(std::byte* memory) noexcept override;
  void upload(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void download(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void clear(std::byte* memory, std::size_t bytes) override;
  void run(Graphs& graphs, std::int64_t handle) override;
  void begin_capture() override;
  void abort_capture() noexcept override;
  void forget(std::int64_t capture) noexcept override;
  void mark(std::int64_t number) override;
  double seconds_between(std::int64_t from, std::int64_t to) override;

 private:
  std::byte* take(std::size_t bytes) override;
  void give_back(std::byte* memory) noexcept override;
  void enqueue(const Kernel& kernel) override;
  std::int64_t finish_capture() override;
  void enqueue_capture(std::int64_t capture) override;
  void wait() override;

  int number_;
  GpuTraits traits_;
  cudaStream_t stream_ = nullptr;
  std::map<std::int64_t, cudaGraphExec_t> captures_;
  std::int64_t next_capture_ = 0;
  std::vector<cudaEvent_t> events_;
};

}  // namespace edgepose
