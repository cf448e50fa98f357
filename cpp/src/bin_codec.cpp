// SPDX-License-Identifier: Apache-2.0
#include "edgepose/bin_codec.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace edgepose {

BinCodec::BinCodec(double low, double high, std::vector<std::int32_t> tokens)
    : low_(low), high_(high), bins_{std::move(tokens)} {
  EDGEPOSE_CHECK(
      low < high && std::isfinite(high - low),
      InvalidInput,
      "[bin codec] a finite range with low below high; got [",
      low,
      ", ",
      high,
      "]"
  );
  EDGEPOSE_CHECK(
      bins_.tokens.size() >= 2,
      BundleError,
      "[bin codec] at least two bins; got ",
      bins_.tokens.size()
  );
  std::vector<std::int32_t> sorted = bins_.tokens;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  EDGEPOSE_CHECK(
      twice == sorted.end(),
      BundleError,
      "[bin codec] a token of its own for each bin; got token ",
      *twice,
      " twice"
  );
}

double BinCodec::decode(std::int32_t bin) const {
  EDGEPOSE_CHECK(
      bin >= 0 && bin < count(),
      InvalidInput,
      "[bin codec] a bin from 0 to ",
      count() - 1,
      "; got ",
      bin
  );
  const double number = low_ + static_cast<double>(bin) / (count() - 1) * (high_ - low_);
  return std::min(number, high_);  // the sum may round to above the range
}

std::int32_t BinCodec::encode(double number) const {
  EDGEPOSE_CHECK(
      number >= low_ && number <= high_,
      InvalidInput,
      "[bin codec] a number in [",
      low_,
      ", ",
      high_,
      "]; got ",
      number
  );
  const double share = (number - low_) / (high_ - low_);
  return static_cast<std::int32_t>(std::round(share * (count() - 1)));
}

std::int32_t BinCodec::encode_floor(double number) const {
  EDGEPOSE_CHECK(std::isfinite(number), InvalidInput, "[bin codec] a finite number; got ", number);
  const double share = (std::clamp(number, low_, high_) - low_) / (high_ - low_);
  return static_cast<std::int32_t>(share * (count() - 1));
}

Number BinCodec::read_bin(std::int32_t bin, const Choice& choice) const {
  const double step = (high_ - low_) / (count() - 1);
  const double variance = choice.variance + 1.0 / 12;  // bins^2, of the rounding to one
  return {
      .value = decode(bin),
      .expected = low_ + choice.mean * step,
      .deviation = std::sqrt(variance) * step
  };
}

Number BinCodec::read(const Choice& choice) const {
  const auto found = std::find(bins_.tokens.begin(), bins_.tokens.end(), choice.token);
  EDGEPOSE_CHECK(
      found != bins_.tokens.end(),
      DecodeError,
      "[bin codec] a token of one of ",
      count(),
      " bins; got token ",
      choice.token,
      "; read the answer's text instead"
  );
  return read_bin(static_cast<std::int32_t>(found - bins_.tokens.begin()), choice);
}

}  // namespace edgepose
