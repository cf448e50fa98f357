// SPDX-License-Identifier: Apache-2.0
#include "edgepose/question_rows.hpp"

#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace edgepose {
namespace {

std::vector<std::int64_t> closed_up(QuestionRows& rows) {
  const auto kept = rows.close_up();
  return {kept.begin(), kept.end()};
}

TEST(QuestionRows, CloseUpWhenAQuarterRetired) {
  QuestionRows rows;
  rows.reset(5);
  for (std::int64_t question = 0; question < 5; ++question) EXPECT_EQ(rows.of(question), question);
  rows.retire(1);
  EXPECT_TRUE(closed_up(rows).empty());
  EXPECT_EQ(rows.of(4), 4);
  rows.retire(3);
  EXPECT_EQ(closed_up(rows), (std::vector<std::int64_t>{0, 2, 4}));
  EXPECT_EQ(rows.of(0), 0);
  EXPECT_EQ(rows.of(2), 1);
  EXPECT_EQ(rows.of(4), 2);
  EXPECT_TRUE(closed_up(rows).empty());
  rows.retire(0);
  EXPECT_EQ(closed_up(rows), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(rows.of(4), 1);
  rows.retire(2);
  rows.retire(4);
  EXPECT_TRUE(closed_up(rows).empty());  // nobody is left who would gain
  rows.reset(2);
  EXPECT_EQ(rows.of(1), 1);
}

TEST(QuestionRows, RefuseWhoIsNotThere) {
  QuestionRows rows;
  rows.reset(2);
  rows.retire(0);
  EXPECT_THROW(rows.of(0), Error);
  EXPECT_THROW(rows.retire(0), Error);
  EXPECT_THROW(rows.of(2), std::out_of_range);
}

}  // namespace
}  // namespace edgepose
