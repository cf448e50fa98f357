// SPDX-License-Identifier: Apache-2.0
// What this is: sizes of the decoder, as the bundle states them.
#pragma once

#include "edgepose/tensor.hpp"

#include <cstdint>
#include <vector>

namespace edgepose {

// Added to scores of keys that may not be seen; see Note [masked slots] in host_backend.cpp.
constexpr float kMaskedScore = -30000.0F;

struct DecoderDims {
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocabulary = 0;
  double rope_theta = 10000;
  DataType activations = DataType::float32;
  std::vector<std::int64_t> rope_sections = {};  // see Rope; none where positions are one number
  std::int64_t deepstack = 0;  // first layers behind which image features are added
};

}  // namespace edgepose
