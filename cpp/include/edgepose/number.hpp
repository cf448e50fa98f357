// SPDX-License-Identifier: Apache-2.0
// What this is: one number of an answer, as a codec reads it from tokens.
#pragma once

namespace edgepose {

// In the unit of the field that the codec stands for.
struct Number {
  double value = 0;      // as written
  double expected = 0;   // expectation under the distribution over what could have been written
  double deviation = 0;  // standard deviation of that distribution, rounding included
};

}  // namespace edgepose
