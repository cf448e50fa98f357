// SPDX-License-Identifier: Apache-2.0
// What this is: rotary position embedding, computed on the host and handed to the graph.
// Contract: rows are (head_dim) float32; both halves hold the same angles (half-split rotation).
// Source: Llama's rotary embedding (transformers `modeling_llama`), theta from the checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

class Rope {
 public:
  Rope(std::int64_t head_dim, double theta);

  // Extends the table so that positions [0, count) are ready.
  void reserve(std::int64_t count);

  // Writes the row of `position` to `cos` and `sin`, each (head_dim) float32.
  void write(std::int64_t position, float* cos, float* sin) const;

 private:
  std::int64_t head_dim_;
  std::vector<double> frequencies_;  // (head_dim / 2), radians per position
  std::int64_t ready_ = 0;
  std::vector<float> cos_;  // (ready, head_dim)
  std::vector<float> sin_;  // (ready, head_dim)
};

}  // namespace edgepose
