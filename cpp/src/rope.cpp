// SPDX-License-Identifier: Apache-2.0
#include "edgepose/rope.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cmath>

namespace edgepose {

Rope::Rope(std::int64_t head_dim, double theta) : head_dim_(head_dim) {
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    frequencies_.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim))
    );
  }
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

void Rope::write(std::int64_t position, float* cos, float* sin) const {
  if (position >= ready_) internal_error("rope", message("position ", position, " of ", ready_));
  const auto row = position * head_dim_;
  std::copy_n(cos_.begin() + row, head_dim_, cos);
  std::copy_n(sin_.begin() + row, head_dim_, sin);
}

}  // namespace edgepose
