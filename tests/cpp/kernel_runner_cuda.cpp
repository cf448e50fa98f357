// SPDX-License-Identifier: Apache-2.0
// Runs the tests of kernels on the GPU. Without one it says so and succeeds, or fails where
// EDGEPOSE_REQUIRE_GPU is 1.
#include "cuda_device.hpp"
#include "edgepose/error.hpp"
#include "kernel_runner.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime_api.h>
#include <memory>
#include <new>
#include <string_view>

namespace edgepose::testing {

namespace {
std::unique_ptr<CudaDevice> gpu;  // NOLINT: GoogleTest leaves no other way from main to the tests
}

void* take_shared(std::size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocManaged(&memory, bytes + 1) != cudaSuccess) throw std::bad_alloc();
  return memory;
}

void give_back_shared(void* memory) noexcept { cudaFree(memory); }

void run_here(const Kernel& kernel) {
  gpu->launch(kernel);
  gpu->synchronise();
}

}  // namespace edgepose::testing

int main(int count, char** arguments) {
  ::testing::InitGoogleTest(&count, arguments);
  try {
    edgepose::testing::gpu = std::make_unique<edgepose::CudaDevice>(0);
  } catch (const edgepose::BackendUnavailable& error) {
    const char* required = std::getenv("EDGEPOSE_REQUIRE_GPU");
    const bool fails = required != nullptr && std::string_view(required) == "1";
    std::fprintf(stderr, "%s: %s\n", fails ? "FAILED" : "skipped, no GPU", error.what());
    return fails ? 1 : 0;
  }
  std::printf("on %s\n", edgepose::testing::gpu->traits().name.c_str());
  const int result = RUN_ALL_TESTS();
  edgepose::testing::gpu.reset();
  return result;
}
