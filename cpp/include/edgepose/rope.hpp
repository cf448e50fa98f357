// SPDX-License-Identifier: Apache-2.0
// What this is: rotary position embedding, computed on the host and handed to the graph.
// Contract: rows are (head_dim) float32; both halves hold the same angles (half-split rotation). Of
// a position's three axes, each frequency turns with one.
// Source: Llama's rotary embedding (transformers `modeling_llama`) and Qwen3-VL's interleaved M-RoPE
// (`modeling_qwen3_vl`), theta and sections from the checkpoint.
#pragma once

#include "edgepose/positions.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

class Rope {
 public:
  // `sections`: how many frequencies follow time, row and column, interleaved; none where positions
  // are one number, the time. Throws BundleError unless they are three and sum to head_dim / 2.
  Rope(std::int64_t head_dim, double theta, std::span<const std::int64_t> sections = {});

  // Extends the table so that positions [0, count) on every axis are ready.
  void reserve(std::int64_t count);

  // Writes the row of `position` to `cos` and `sin`, each (head_dim) float32.
  void write(const Position& position, float* cos, float* sin) const;

  // The table itself, (ready, head_dim) float32: row p holds the angles of position p on each axis.
  std::span<const float> cosines() const noexcept { return cos_; }
  std::span<const float> sines() const noexcept { return sin_; }

  // (head_dim) which axis of a position turns each element: 0 time, 1 row, 2 column.
  std::vector<std::int32_t> axes() const;

 private:
  std::size_t row_of(std::int64_t position) const;

  std::int64_t head_dim_;
  std::vector<double> frequencies_;                  // (head_dim / 2), radians per position
  std::array<std::vector<std::size_t>, 2> turning_;  // frequencies that follow row and column
  std::int64_t ready_ = 0;
  std::vector<float> cos_;  // (ready, head_dim)
  std::vector<float> sin_;  // (ready, head_dim)
};

}  // namespace edgepose
