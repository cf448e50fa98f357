// SPDX-License-Identifier: Apache-2.0
#include "edgepose/rope.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace edgepose {

Rope::Rope(std::int64_t head_dim, double theta, std::span<const std::int64_t> sections)
    : head_dim_(head_dim) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    frequencies_.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim))
    );
  }
  if (sections.empty()) return;
  EDGEPOSE_CHECK(
      sections.size() == 3 && *std::min_element(sections.begin(), sections.end()) >= 0 &&
          std::accumulate(sections.begin(), sections.end(), std::int64_t{0}) == half,
      BundleError,
      "[rope] three sections that sum to ",
      half,
      " frequencies; got ",
      sections.size(),
      " that sum to ",
      std::accumulate(sections.begin(), sections.end(), std::int64_t{0}),
      "; export the bundle again"
  );
  // Time, row, column, time, row, column, ... as far as the sections of row and column go.
  for (std::size_t axis = 0; axis < turning_.size(); ++axis) {
    const std::int64_t stop = std::min(half, 3 * sections[axis + 1]);
    for (auto i = static_cast<std::int64_t>(axis) + 1; i < stop; i += 3) {
      turning_[axis].push_back(static_cast<std::size_t>(i));
    }
  }
}

std::vector<std::int32_t> Rope::axes() const {
  std::vector<std::int32_t> axes(static_cast<std::size_t>(head_dim_), 0);
  for (std::size_t axis = 0; axis < turning_.size(); ++axis) {
    for (const std::size_t i : turning_[axis]) {
      axes[i] = axes[frequencies_.size() + i] = static_cast<std::int32_t>(axis) + 1;
    }
  }
  return axes;
}

void Rope::reserve(std::int64_t count) {
  if (count <= ready_) return;
  const auto size = static_cast<std::size_t>(count * head_dim_);
  cos_.resize(size);
  sin_.resize(size);
  const auto half = frequencies_.size();
  for (std::int64_t position = ready_; position < count; ++position) {
    const auto row = static_cast<std::size_t>(position * head_dim_);
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies_[i];
      cos_[row + i] = cos_[row + half + i] = static_cast<float>(std::cos(angle));
      sin_[row + i] = sin_[row + half + i] = static_cast<float>(std::sin(angle));
    }
  }
  ready_ = count;
}

std::size_t Rope::row_of(std::int64_t position) const {
  if (position < 0 || position >= ready_) {
    internal_error("rope", message("position ", position, " of ", ready_));
  }
  return static_cast<std::size_t>(position * head_dim_);
}

void Rope::write(const Position& position, float* cos, float* sin) const {
  const std::size_t row = row_of(position.time);
  const auto width = static_cast<std::size_t>(head_dim_);
  std::copy_n(cos_.data() + row, width, cos);
  std::copy_n(sin_.data() + row, width, sin);
  const std::array<std::int64_t, 2> places = {position.row, position.column};
  const auto half = frequencies_.size();
  for (std::size_t axis = 0; axis < turning_.size(); ++axis) {
    if (turning_[axis].empty() || places[axis] == position.time) continue;
    const std::size_t other = row_of(places[axis]);
    for (const std::size_t i : turning_[axis]) {
      cos[i] = cos[half + i] = cos_[other + i];
      sin[i] = sin[half + i] = sin_[other + i];
    }
  }
}

}  // namespace edgepose
