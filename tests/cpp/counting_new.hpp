// SPDX-License-Identifier: Apache-2.0
// What this is: a count of the test program's heap allocations.
// Contract: `operator new` is replaced in the whole program (counting_new.cpp).
#pragma once

#include <cstddef>

namespace edgepose::testing {

// Calls of `operator new` so far, by any thread.
std::size_t allocations() noexcept;

}  // namespace edgepose::testing
