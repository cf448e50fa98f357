// SPDX-License-Identifier: Apache-2.0
// What this is: the choice of one token from logits, with the statistics that become confidence and
// standard deviation.
// Contract: logits are float32. The first of equal maxima wins, as in torch.argmax. Throws
// BackendError where a NaN or an infinity leaves no distribution to choose from.
// Source: greedy search, and its confidence (maximum of the softmax), as in LocLLM
// `utils/valid2d.py`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

// A set of tokens that stand for the numbers 0, 1, 2, ... in this order (ten digits, a thousand
// bins), or a single token that a grammar forces.
struct Alphabet {
  std::vector<std::int32_t> tokens;
  bool operator==(const Alphabet&) const = default;
};

// What was chosen at one position, and how sure the model was.
struct Choice {
  std::int32_t token = -1;
  double probability = 0;  // softmax of the chosen token over everything it was chosen among
  double share = 0;        // the same over the alphabet alone; 0 for a token outside it
  double mean = 0;         // expected index in the alphabet, softmax over the alphabet alone
  double variance = 0;     // variance of that index
};

// Chooses among `columns` of `logits` only. Column k belongs to the alphabet's k-th token.
Choice choose_among(
    std::span<const float> logits, std::span<const std::int32_t> columns, const Alphabet& alphabet
);

// Chooses among all logits (column = token id); share, mean and variance speak of `alphabet`, or of
// `otherwise` where the chosen token is not in it.
Choice choose_from_all(
    std::span<const float> logits, const Alphabet& alphabet, const Alphabet& otherwise
);

// Sum over i of exp(logits[i] - maximum); relative error below 1e-6.
double exp_sum(std::span<const float> logits, float maximum) noexcept;

}  // namespace edgepose
