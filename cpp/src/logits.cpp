// SPDX-License-Identifier: Apache-2.0
#include "edgepose/logits.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

// A second version of a function for processors with AVX2, chosen when the library is loaded.
// Sanitizers are not up yet at that moment.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EDGEPOSE_WIDE_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define EDGEPOSE_WIDE_VECTORS
#endif

namespace edgepose {

namespace {

constexpr std::size_t kLanes = 16;

// e^x for x <= 0, branch-free so that loops over it are vectorised. Relative error below 3e-7;
// arguments under -87 give about 1e-38 instead of 0.
inline float exp_nonpositive(float x) noexcept {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound =
      12582912.0F;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
  x = x < -87.0F ? -87.0F : x;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  // The low bits of `shifted` are n. No conversion from float, which is undefined for a NaN.
  const std::uint32_t exponent =
      std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kRound) + 127U;
  return p * std::bit_cast<float>(exponent << 23);
}

EDGEPOSE_WIDE_VECTORS float maximum_of(std::span<const float> values) noexcept {
  std::array<float, kLanes> lanes;
  lanes.fill(values[0]);
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  float best = *std::max_element(lanes.begin(), lanes.end());
  for (; i < values.size(); ++i) best = std::max(best, values[i]);
  return best;
}

// `sum`: of exponentials; not a number as soon as one of their logits is none, or infinite.
void expect_finite(double sum) {
  EDGEPOSE_CHECK(
      std::isfinite(sum),
      BackendError,
      "[logits] finite numbers; got NaN or infinity; look for NaN in the image, or export with "
      "float32 activations"
  );
}

// Share, mean and variance of the index under the softmax of the alphabet's own logits.
template <typename LogitAt>
void measure(const Alphabet& alphabet, LogitAt logit_at, Choice& choice) {
  float maximum = logit_at(0);
  for (std::size_t k = 1; k < alphabet.tokens.size(); ++k) maximum = std::max(maximum, logit_at(k));
  double total = 0;
  double chosen = 0;
  double first = 0;
  double second = 0;
  for (std::size_t k = 0; k < alphabet.tokens.size(); ++k) {
    const double weight = std::exp(static_cast<double>(logit_at(k)) - maximum);
    const auto index = static_cast<double>(k);
    total += weight;
    if (alphabet.tokens[k] == choice.token) chosen = weight;
    first += weight * index;
    second += weight * index * index;
  }
  expect_finite(total);
  const double mean = first / total;
  choice.share = chosen / total;
  choice.mean = mean;
  choice.variance = std::max(0.0, second / total - mean * mean);
}

}  // namespace

EDGEPOSE_WIDE_VECTORS double exp_sum(std::span<const float> logits, float maximum) noexcept {
  double sum = 0;
  std::size_t i = 0;
  while (i + kLanes <= logits.size()) {
    // Short float sums, added up in double: equal terms would gather rounding of one sign.
    const std::size_t stop = std::min(logits.size() - kLanes + 1, i + 8 * kLanes);
    std::array<float, kLanes> lanes{};
    for (; i < stop; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += exp_nonpositive(logits[i + lane] - maximum);
      }
    }
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  for (; i < logits.size(); ++i) sum += static_cast<double>(exp_nonpositive(logits[i] - maximum));
  return sum;
}

Choice choose_among(
    std::span<const float> logits, std::span<const std::int32_t> columns, const Alphabet& alphabet
) {
  if (columns.empty() || columns.size() != alphabet.tokens.size()) {
    internal_error("logits", "an alphabet without columns in the answer head");
  }
  const auto logit_at = [&](std::size_t k) { return logits[static_cast<std::size_t>(columns[k])]; };
  std::size_t best = 0;
  for (std::size_t k = 1; k < columns.size(); ++k) {
    if (logit_at(k) > logit_at(best)) best = k;
  }
  Choice choice;
  choice.token = alphabet.tokens[best];
  measure(alphabet, logit_at, choice);
  choice.probability = choice.share;
  return choice;
}

Choice choose_from_all(
    std::span<const float> logits, const Alphabet& alphabet, const Alphabet& otherwise
) {
  const float maximum = maximum_of(logits);
  const double total = exp_sum(logits, maximum);
  expect_finite(total);
  Choice choice;
  choice.token =
      static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), maximum) - logits.begin());
  choice.probability = 1 / total;
  const auto& tokens = alphabet.tokens;
  const bool inside = std::find(tokens.begin(), tokens.end(), choice.token) != tokens.end();
  const Alphabet& measured = inside ? alphabet : otherwise;
  measure(
      measured,
      [&](std::size_t k) { return logits[static_cast<std::size_t>(measured.tokens[k])]; },
      choice
  );
  return choice;
}

}  // namespace edgepose
