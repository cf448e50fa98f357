// SPDX-License-Identifier: Apache-2.0
// What this is: which row of the caches a question has, while questions retire one by one.
// Contract: rows are numbered from 0 on, in the order of the questions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

class QuestionRows {
 public:
  // Question k has row k. Allocates for more questions than ever before only.
  void reset(std::int64_t questions);

  // Throws Error for a retired question.
  std::int64_t of(std::int64_t question) const;

  void retire(std::int64_t question);

  // When a quarter of the rows has no question any more, numbers the others anew and returns their
  // old numbers, which are valid until the next call; nothing otherwise.
  std::span<const std::int64_t> close_up();

 private:
  std::vector<std::int64_t> rows_;  // -1 for a retired question
  std::vector<std::int64_t> kept_;
  std::int64_t live_ = 0;   // questions that are not retired
  std::int64_t count_ = 0;  // of rows
};

}  // namespace edgepose
