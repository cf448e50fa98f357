// SPDX-License-Identifier: Apache-2.0
// What this is: numbers written as one of `count` equally spaced bins, each bin a token, `<394>`.
// Contract: bin k of [low, high] stands for low + k / (count - 1) * (high - low), so that the first
// and the last bin are the ends of the range. Numbers have the unit of the range.
// Source: TAIHRI's coordinate tokens: 1000 bins; pixels over [0, extent of the model's frame], X and
// Y over [-2.5, 2.5] m, Z over [0, 4] m.
#pragma once

#include "edgepose/logits.hpp"
#include "edgepose/number.hpp"

#include <cstdint>
#include <vector>

namespace edgepose {

class BinCodec {
 public:
  // `tokens`: of bin 0, 1, 2, ...; at least two, no two alike, BundleError otherwise. Throws
  // InvalidInput unless low < high and both are finite.
  BinCodec(double low, double high, std::vector<std::int32_t> tokens);

  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }
  std::int32_t count() const noexcept { return static_cast<std::int32_t>(bins_.tokens.size()); }

  // The bins' tokens, in order: what a free slot of the form may hold.
  const Alphabet& bins() const noexcept { return bins_; }

  // The number of a bin. Throws InvalidInput for a bin that there is not.
  double decode(std::int32_t bin) const;

  // The bin nearest to a number, at most half a step away. Throws InvalidInput for a number outside
  // the range.
  std::int32_t encode(double number) const;

  // The bin at or below a number, which is clamped to the range first: how boxes in prompts are
  // written. Not the inverse of `decode`: rounding may put a bin's own number just below it. Throws
  // InvalidInput for NaN and infinities.
  std::int32_t encode_floor(double number) const;

  // The number of a choice of this bin whose statistics speak of these bins.
  Number read_bin(std::int32_t bin, const Choice& choice) const;

  // The number of a choice whose statistics speak of these bins. Throws DecodeError where the
  // choice is not one of them.
  Number read(const Choice& choice) const;

 private:
  double low_;
  double high_;
  Alphabet bins_;
};

}  // namespace edgepose
