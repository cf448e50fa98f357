// SPDX-License-Identifier: Apache-2.0
// What this is: the behaviours that every decoding is tested with, and when two answers are the same.
#pragma once

#include "edgepose/answer.hpp"
#include "fake_model.hpp"

#include <gtest/gtest.h>

#include <cstddef>

namespace edgepose::testing {

inline constexpr Behaviour kBehaviours[] = {
    Behaviour::follows_form,
    Behaviour::never_follows,
    Behaviour::skips_opening,
    Behaviour::leaves_somewhere,
    Behaviour::ends_early
};

inline void expect_same(const Answer& got, const Answer& expected) {
  EXPECT_EQ(got.tokens, expected.tokens);
  EXPECT_EQ(got.follows_form, expected.follows_form);
  ASSERT_EQ(got.choices.size(), expected.choices.size());
  for (std::size_t k = 0; k < got.choices.size(); ++k) {
    EXPECT_EQ(got.choices[k].token, expected.tokens[k]);
    EXPECT_NEAR(got.choices[k].probability, expected.choices[k].probability, 1e-6) << "token " << k;
    EXPECT_NEAR(got.choices[k].share, expected.choices[k].share, 1e-9) << "token " << k;
    EXPECT_NEAR(got.choices[k].mean, expected.choices[k].mean, 1e-9) << "token " << k;
    EXPECT_NEAR(got.choices[k].variance, expected.choices[k].variance, 1e-9) << "token " << k;
  }
}

}  // namespace edgepose::testing
