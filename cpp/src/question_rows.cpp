// SPDX-License-Identifier: Apache-2.0
#include "edgepose/question_rows.hpp"

#include "edgepose/error.hpp"

#include <cstddef>
#include <numeric>

namespace edgepose {

void QuestionRows::reset(std::int64_t questions) {
  rows_.resize(static_cast<std::size_t>(questions));
  std::iota(rows_.begin(), rows_.end(), std::int64_t{0});
  kept_.reserve(rows_.size());
  live_ = count_ = questions;
}

std::int64_t QuestionRows::of(std::int64_t question) const {
  const std::int64_t row = rows_.at(static_cast<std::size_t>(question));
  if (row < 0) internal_error("question rows", message("question ", question, ", which retired"));
  return row;
}

void QuestionRows::retire(std::int64_t question) {
  of(question);
  rows_[static_cast<std::size_t>(question)] = -1;
  --live_;
}

std::span<const std::int64_t> QuestionRows::close_up() {
  kept_.clear();
  if (live_ == 0 || 4 * live_ > 3 * count_) return kept_;
  for (std::int64_t& row : rows_) {
    if (row < 0) continue;
    kept_.push_back(row);
    row = std::ssize(kept_) - 1;
  }
  count_ = live_;
  return kept_;
}

}  // namespace edgepose
