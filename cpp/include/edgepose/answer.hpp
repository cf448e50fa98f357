// SPDX-License-Identifier: Apache-2.0
// What this is: the outcome of one question.
#pragma once

#include "edgepose/logits.hpp"

#include <cstdint>
#include <vector>

namespace edgepose {

struct Answer {
  std::vector<std::int32_t> tokens;
  std::vector<Choice>
      choices;                // one a token; a forced token that nobody looked at has probability 1
  bool follows_form = false;  // every token is one that the form allows, and the form is complete
};

}  // namespace edgepose
