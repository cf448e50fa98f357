// SPDX-License-Identifier: Apache-2.0
#include "edgepose/prompt_checks.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <iterator>

namespace edgepose {

void expect_token(std::int32_t token, const DecoderDims& dims) {
  EDGEPOSE_CHECK(
      token < dims.vocabulary,
      InvalidInput,
      "[prompt] token ids below ",
      dims.vocabulary,
      "; got ",
      token
  );
}

void expect_image(const Prefix& prefix, const DecoderDims& dims) {
  const auto rows = std::count(prefix.tokens.begin(), prefix.tokens.end(), kImageToken);
  const bool axes = !dims.rope_sections.empty();
  EDGEPOSE_CHECK(
      prefix.grid.has_value() == (axes && rows > 0),
      InvalidInput,
      "[image grid] ",
      axes && rows > 0 ? "rows and columns of the image, as positions have three axes; got none"
      : axes           ? "none without an image; got one"
                       : "none, as positions of this model are one number; got one"
  );
  const std::int64_t features = rows > 0 ? dims.deepstack : 0;
  EDGEPOSE_CHECK(
      std::ssize(prefix.deepstack) == features,
      InvalidInput,
      "[deepstack] ",
      features,
      " arrays of image features; got ",
      prefix.deepstack.size()
  );
}

}  // namespace edgepose
