// SPDX-License-Identifier: Apache-2.0
// What this is: how questions of unequal length are laid into the rows of one batch.
// Contract: several questions may share a row (they do not see each other); padding costs
// arithmetic in the linear layers, sharing costs attention scores that are thrown away. The cheaper
// layout wins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

// Where a question starts.
struct Place {
  std::int64_t row = 0;
  std::int64_t column = 0;
};

struct Packing {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::vector<Place> places;  // one a question
};

// Relative prices of the decoder's work.
struct PackingCost {
  double token = 1;  // one token through the linear layers
  double pair = 0;   // one query-key pair, all heads
};

// Lays out questions. Keeps its scratch memory, so that packing as many questions again allocates
// nothing.
class Packer {
 public:
  // The cheapest of the layouts with 1 to lengths.size() rows, `prefix` keys being visible to all.
  // `lengths`: at least one.
  void pack(
      std::span<const std::int64_t> lengths, std::int64_t prefix, PackingCost cost, Packing& packing
  );

 private:
  void fill_rows(std::span<const std::int64_t> lengths, std::int64_t rows);

  std::vector<std::size_t> longest_first_;
  std::vector<std::int64_t> widths_;  // of the rows
  std::vector<Place> places_;
};

// One question a row. `lengths`: at least one.
void pack_padded(std::span<const std::int64_t> lengths, Packing& packing);

}  // namespace edgepose
