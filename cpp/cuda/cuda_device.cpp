// SPDX-License-Identifier: Apache-2.0
#include "cuda_device.hpp"

#include "edgepose/error.hpp"
#include "kernels.hpp"

#include <new>

namespace edgepose {

namespace {

// Throws for anything but success, and clears the error, which would else be seen by the next call.
void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw BackendError(message(
      "[cuda] ",
      what,
      " to succeed; got ",
      cudaGetErrorName(error),
      ": ",
      cudaGetErrorString(error),
      error == cudaErrorMemoryAllocation ? "; use a smaller precision or batch" : ""
  ));
}

GpuTraits traits_of(int number) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  GpuTraits traits;
  cudaDriverGetVersion(&traits.driver_version);
  cudaRuntimeGetVersion(&traits.runtime_version);
  const auto spelled = [](int version) {
    return message(version / 1000, ".", version % 1000 / 10);
  };
  EDGEPOSE_CHECK(
      error == cudaSuccess && number < count,
      BackendUnavailable,
      "[cuda] GPU ",
      number,
      " with a driver for CUDA ",
      spelled(traits.runtime_version),
      " or later; got ",
      error == cudaSuccess ? message(count, " GPUs") : message(cudaGetErrorString(error)),
      traits.driver_version == 0
          ? std::string(" (no driver)")
          : message(" (driver for CUDA ", spelled(traits.driver_version), ")"),
      "; install NVIDIA's driver (on Jetson: JetPack), or run with backend=\"onnxruntime\""
  );
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, number), "the GPU's properties");
  traits.name = properties.name;
  traits.major = properties.major;
  traits.minor = properties.minor;
  traits.multiprocessors = properties.multiProcessorCount;
  traits.integrated = properties.integrated != 0;
  traits.total_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  return traits;
}

}  // namespace

CudaDevice::CudaDevice(int number) : number_(number), traits_(traits_of(number)) {
  check(cudaSetDevice(number), "choosing the GPU");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

CudaDevice::~CudaDevice() {
  cudaStreamSynchronize(stream_);
  for (const auto& [number, capture] : captures_) cudaGraphExecDestroy(capture);
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
  cudaStreamDestroy(stream_);
}

std::int64_t CudaDevice::free_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "the GPU's free memory");
  return static_cast<std::int64_t>(free);
}

std::byte* CudaDevice::take(std::size_t bytes) {
  check(cudaSetDevice(number_), "choosing the GPU");
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), message("allocating ", bytes, " bytes of GPU memory").c_str());
  check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing memory");
  return static_cast<std::byte*>(memory);
}

void CudaDevice::give_back(std::byte* memory) noexcept {
  cudaStreamSynchronize(stream_);
  cudaFree(memory);
  cudaGetLastError();
}

std::byte* CudaDevice::allocate_host(std::size_t bytes) {
  check(cudaSetDevice(number_), "choosing the GPU");
  void* memory = nullptr;
  check(
      cudaHostAlloc(&memory, bytes, cudaHostAllocMapped),
      message("allocating ", bytes, " bytes of pinned memory").c_str()
  );
  return static_cast<std::byte*>(memory);
}

void CudaDevice::free_host(std::byte* memory) noexcept {
  cudaStreamSynchronize(stream_);
  cudaFreeHost(memory);
  cudaGetLastError();
}

std::byte* CudaDevice::seen_by_gpu(std::byte* host) const {
  void* memory = nullptr;
  check(cudaHostGetDevicePointer(&memory, host, 0), "the GPU's view of pinned memory");
  return static_cast<std::byte*>(memory);
}

void CudaDevice::upload(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "an upload");
}

void CudaDevice::download(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_), "a download");
}

void CudaDevice::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "a copy");
}

void CudaDevice::clear(std::byte* memory, std::size_t bytes) {
  check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing memory");
}

void CudaDevice::enqueue(const Kernel& kernel) {
  launch_on_gpu(kernel, stream_);
  check(cudaGetLastError(), "a kernel's launch");
}

void CudaDevice::run(Graphs& graphs, std::int64_t handle) { graphs.run(handle); }

void CudaDevice::begin_capture() {
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a capture");
}

void CudaDevice::abort_capture() noexcept {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

std::int64_t CudaDevice::finish_capture() {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
  cudaGraphExec_t capture = nullptr;
  const cudaError_t made = ended == cudaSuccess ? cudaGraphInstantiate(&capture, graph, 0) : ended;
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (made != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  captures_.emplace(next_capture_, capture);
  return next_capture_++;
}

void CudaDevice::enqueue_capture(std::int64_t capture) {
  check(cudaGraphLaunch(captures_.at(capture), stream_), "a replay");
}

void CudaDevice::forget(std::int64_t capture) noexcept {
  const auto found = captures_.find(capture);
  if (found == captures_.end()) return;
  cudaStreamSynchronize(stream_);
  cudaGraphExecDestroy(found->second);
  captures_.erase(found);
}

void CudaDevice::mark(std::int64_t number) {
  while (static_cast<std::int64_t>(events_.size()) <= number) {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "making an event");
    events_.push_back(event);
  }
  check(cudaEventRecord(events_[static_cast<std::size_t>(number)], stream_), "a mark");
}

double CudaDevice::seconds_between(std::int64_t from, std::int64_t to) {
  float milliseconds = 0;
  const auto event = [&](std::int64_t number) {
    return events_.at(static_cast<std::size_t>(number));
  };
  check(cudaEventElapsedTime(&milliseconds, event(from), event(to)), "the time between marks");
  return static_cast<double>(milliseconds) / 1000;
}

void CudaDevice::wait() { check(cudaStreamSynchronize(stream_), "the work on the GPU"); }

}  // namespace edgepose
