// SPDX-License-Identifier: Apache-2.0
#include "edgepose/prompt_checks.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cstddef>
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

void expect_looks(const Step& step, const char* where) {
  std::size_t looks = 0;
  for (const Run& run : step.runs) {
    for (std::int32_t k = 0; k < run.looks; ++k, ++looks) {
      const std::int32_t at = looks < step.looks.size() ? step.looks[looks].at : -1;
      if (at < 0 || at >= run.count) {
        internal_error(
            where, message("look ", looks, " of ", step.looks.size(), " at ", at, " of ", run.count)
        );
      }
    }
  }
  if (looks != step.looks.size()) {
    internal_error(where, message(step.looks.size(), " looks, ", looks, " of runs"));
  }
}

}  // namespace edgepose
