// SPDX-License-Identifier: Apache-2.0
// What this is: where the tests of kernels run them: on the host or on a GPU, chosen by what is linked.
// Contract: kernels see memory of `Shared` only, and so does the test before and after `run_here`.
#pragma once

#include "edgepose/device.hpp"

#include <cstddef>
#include <vector>

namespace edgepose::testing {

void* take_shared(std::size_t bytes);
void give_back_shared(void* memory) noexcept;

template <typename T>
struct SharedAllocator {
  using value_type = T;

  SharedAllocator() = default;
  template <typename Other>
  SharedAllocator(const SharedAllocator<Other>&) noexcept {}  // NOLINT(google-explicit-constructor)

  T* allocate(std::size_t count) { return static_cast<T*>(take_shared(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t) noexcept { give_back_shared(memory); }
  bool operator==(const SharedAllocator&) const noexcept { return true; }
};

template <typename T>
using Shared = std::vector<T, SharedAllocator<T>>;

// Runs a kernel and waits for it.
void run_here(const Kernel& kernel);

}  // namespace edgepose::testing
