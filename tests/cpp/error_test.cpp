// SPDX-License-Identifier: Apache-2.0
#include "edgepose/error.hpp"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>

namespace edgepose {
namespace {

template <typename Thrown>
void expect_thrown_as_itself_and_as_error() {
  static_assert(std::is_base_of_v<Error, Thrown>);
  EXPECT_THROW(throw Thrown("text"), Thrown);
  try {
    throw Thrown("[here] text");
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), std::string("[here] text"));
  }
}

TEST(Error, EveryTypeOfTheListIsAnError) {
#define EDGEPOSE_ERROR(Name, PythonName, PythonBase, When) \
  expect_thrown_as_itself_and_as_error<Name>();            \
  EXPECT_FALSE(std::string(When).empty());
#include "edgepose/errors.def"
#undef EDGEPOSE_ERROR
}

TEST(Error, MessageJoinsItsParts) {
  EXPECT_EQ(message("[box] width ", 0, " of ", 2.5, 'm'), "[box] width 0 of 2.5m");
}

TEST(Error, CheckThrowsTheGivenTypeWithTheValue) {
  const int got = 7;
  EXPECT_NO_THROW(EDGEPOSE_CHECK(got == 7, InvalidInput, "never"));
  try {
    EDGEPOSE_CHECK(got == 8, BundleError, "[here] 8; got ", got);
    FAIL() << "nothing was thrown";
  } catch (const BundleError& error) {
    EXPECT_EQ(error.what(), std::string("[here] 8; got 7"));
  }
}

TEST(Error, CheckEvaluatesItsConditionOnceAndItsMessageNever) {
  int conditions = 0;
  int messages = 0;
  EDGEPOSE_CHECK(++conditions == 1, Error, ++messages);
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(messages, 0);
}

TEST(Error, InternalErrorIsMarkedAsADefectOfEdgepose) {
  try {
    internal_error("cache", "slot 3 of 2");
    FAIL() << "nothing was thrown";
  } catch (const InvalidInput&) {
    FAIL() << "not the caller's mistake";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("[cache] slot 3 of 2"), std::string::npos);
    EXPECT_NE(text.find("defect of edgepose"), std::string::npos);
  }
}

}  // namespace
}  // namespace edgepose
