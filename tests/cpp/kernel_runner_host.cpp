// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_device.hpp"
#include "kernel_runner.hpp"

#include <cstdlib>
#include <new>

namespace edgepose::testing {

void* take_shared(std::size_t bytes) {
  void* memory = std::aligned_alloc(256, (bytes + 256) / 256 * 256);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void give_back_shared(void* memory) noexcept { std::free(memory); }

void run_here(const Kernel& kernel) { run_on_host(kernel); }

}  // namespace edgepose::testing
