// SPDX-License-Identifier: Apache-2.0
// What this is: decoding as it is defined, one token at a time over the whole sequence, no caches.
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/grammar.hpp"
#include "fake_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepose::testing {

// Probability of the token at `among[best]` by plain softmax over `among`.
inline std::vector<double> softmax(
    const std::vector<float>& logits, const std::vector<std::int32_t>& among
) {
  double maximum = -1e300;
  for (const auto token : among) {
    maximum = std::max(maximum, static_cast<double>(logits[static_cast<std::size_t>(token)]));
  }
  std::vector<double> result;
  double total = 0;
  for (const auto token : among) {
    const auto logit = static_cast<double>(logits[static_cast<std::size_t>(token)]);
    result.push_back(std::exp(logit - maximum));
    total += result.back();
  }
  for (double& p : result) p /= total;
  return result;
}

// The statistics of `token`, chosen among `among`, in terms of `alphabet`.
inline Choice describe(
    const std::vector<float>& logits,
    const std::vector<std::int32_t>& among,
    const Alphabet& alphabet,
    std::int32_t token
) {
  Choice choice;
  choice.token = token;
  const auto all = softmax(logits, among);
  for (std::size_t k = 0; k < among.size(); ++k) {
    if (among[k] == token) choice.probability = all[k];
  }
  const auto own = softmax(logits, alphabet.tokens);
  for (std::size_t k = 0; k < own.size(); ++k) {
    if (alphabet.tokens[k] == token) choice.share = own[k];
    choice.mean += own[k] * static_cast<double>(k);
  }
  for (std::size_t k = 0; k < own.size(); ++k) {
    const double distance = static_cast<double>(k) - choice.mean;
    choice.variance += own[k] * distance * distance;
  }
  return choice;
}

inline std::int32_t best_of(
    const std::vector<float>& logits, const std::vector<std::int32_t>& among
) {
  return *std::max_element(among.begin(), among.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] < logits[static_cast<std::size_t>(b)];
  });
}

inline Answer reference_constrained(const FakeModel& model, std::vector<Code> codes) {
  Answer answer;
  answer.follows_form = true;
  for (const std::int32_t slot : model.form.slots) {
    const Alphabet& alphabet = model.form.alphabets[static_cast<std::size_t>(slot)];
    const auto logits = model.logits(codes);
    const auto token = best_of(logits, alphabet.tokens);
    answer.tokens.push_back(token);
    answer.choices.push_back(
        alphabet.tokens.size() == 1 ? Choice{.token = token, .probability = 1, .share = 1}
                                    : describe(logits, alphabet.tokens, alphabet, token)
    );
    codes.push_back(token);
  }
  return answer;
}

inline Answer reference_greedy(
    const FakeModel& model, std::vector<Code> codes, std::size_t max_tokens
) {
  Answer answer;
  const Form& form = model.form;
  std::vector<std::int32_t> all;
  for (std::int32_t token = 0; token < model.vocabulary; ++token) all.push_back(token);
  bool in_form = true;
  std::size_t place = 0;
  while (answer.tokens.size() < max_tokens) {
    const auto logits = model.logits(codes);
    const auto token = best_of(logits, all);
    const bool in_slot = in_form && place < form.slots.size();
    const Alphabet& alphabet =
        form.alphabets[in_slot ? static_cast<std::size_t>(form.slots[place]) : 0];
    answer.tokens.push_back(token);
    answer.choices.push_back(describe(logits, all, alphabet, token));
    codes.push_back(token);
    const auto& allowed = alphabet.tokens;
    const bool fits = in_slot && std::find(allowed.begin(), allowed.end(), token) != allowed.end();
    if (token == model.end && in_form && place == form.slots.size()) break;
    in_form = fits;
    if (fits) ++place;
    if (token == model.end) break;
  }
  answer.follows_form = in_form && place == form.slots.size();
  return answer;
}

}  // namespace edgepose::testing
