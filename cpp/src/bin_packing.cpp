// SPDX-License-Identifier: Apache-2.0
#include "edgepose/bin_packing.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace edgepose {

// Longest first, each into the row that is shortest so far.
void Packer::fill_rows(std::span<const std::int64_t> lengths, std::int64_t rows) {
  widths_.assign(static_cast<std::size_t>(rows), 0);
  places_.resize(lengths.size());
  for (const std::size_t question : longest_first_) {
    const auto shortest = std::min_element(widths_.begin(), widths_.end());
    places_[question] = {shortest - widths_.begin(), *shortest};
    *shortest += lengths[question];
  }
}

void Packer::pack(
    std::span<const std::int64_t> lengths, std::int64_t prefix, PackingCost cost, Packing& packing
) {
  longest_first_.resize(lengths.size());
  std::iota(longest_first_.begin(), longest_first_.end(), std::size_t{0});
  std::sort(longest_first_.begin(), longest_first_.end(), [&](std::size_t a, std::size_t b) {
    return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b;
  });
  double best = std::numeric_limits<double>::infinity();
  for (auto rows = static_cast<std::int64_t>(lengths.size()); rows >= 1; --rows) {
    fill_rows(lengths, rows);
    const std::int64_t width = *std::max_element(widths_.begin(), widths_.end());
    const auto cells = static_cast<double>(rows * width);
    const double price = cells * (cost.token + cost.pair * static_cast<double>(prefix + width));
    if (price < best) {
      best = price;
      packing.rows = rows;
      packing.width = width;
      packing.places = places_;
    }
  }
}

void pack_padded(std::span<const std::int64_t> lengths, Packing& packing) {
  packing.rows = static_cast<std::int64_t>(lengths.size());
  packing.width = *std::max_element(lengths.begin(), lengths.end());
  packing.places.resize(lengths.size());
  for (std::size_t question = 0; question < lengths.size(); ++question) {
    packing.places[question] = {static_cast<std::int64_t>(question), 0};
  }
}

}  // namespace edgepose
