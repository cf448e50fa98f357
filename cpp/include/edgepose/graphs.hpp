// SPDX-License-Identifier: Apache-2.0
// What this is: something that executes a bundle's graphs on host memory.
// Contract: `bind` is called once a shape and may allocate; `run` executes and allocates nothing of
// its own. Tensor names, shapes and types are those of the bundle format (export/graphs).
#pragma once

#include "edgepose/tensor.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace edgepose {

class Graphs {
 public:
  virtual ~Graphs() = default;

  // Prepares `graph` ("llm_decoder", "lm_head", "answer_head") for these tensors; returns a handle.
  virtual std::int64_t bind(
      const std::string& graph,
      std::span<const TensorView> inputs,
      std::span<const TensorView> outputs
  ) = 0;

  virtual void run(std::int64_t handle) = 0;

  // Told by backends on a device when a run was put into its queue, as it may be out of a capture,
  // without `run`: for progress.
  virtual void passed(std::int64_t /*handle*/) {}

  // All handles are void from here on: memory has moved, or there are too many of them.
  virtual void release() = 0;
};

}  // namespace edgepose
