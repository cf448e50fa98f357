// SPDX-License-Identifier: Apache-2.0
// What this is: how answers are decoded: freely or held to their form, how long, with what penalty.
#pragma once

#include "edgepose/token_history.hpp"

#include <cstdint>

namespace edgepose {

enum class Mode : std::uint8_t { constrained, exact };

struct DecodeOptions {
  Mode mode = Mode::constrained;
  std::int32_t max_tokens = 0;     // answer length at which exact decoding stops
  std::int32_t end = -1;           // token that ends an answer early in exact mode
  std::int64_t max_positions = 0;  // context length of the model
  // For repetition. In exact mode it holds for every token; in constrained mode for free tokens,
  // numbers only where it says so.
  Penalty penalty = {};
  bool penalise_numbers = false;
};

}  // namespace edgepose
