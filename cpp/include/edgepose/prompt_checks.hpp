// SPDX-License-Identifier: Apache-2.0
// What this is: what every backend refuses of a prompt or a step, whatever it runs on.
// Contract: each throws, with what was expected and what was got: InvalidInput where a user can be
// wrong, an internal error where only the decoder can.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/decoder_dims.hpp"

#include <cstdint>

namespace edgepose {

// A token id, not the outcome of a look.
void expect_token(std::int32_t token, const DecoderDims& dims);

// An image has a grid where positions have three axes, and features for as many layers as want
// them.
void expect_image(const Prefix& prefix, const DecoderDims& dims);

// The step has as many looks as its runs announce, each at a token of its run. `where`: who asks.
void expect_looks(const Step& step, const char* where);

}  // namespace edgepose
