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
#include <utility>
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

// Logits of the next token, penalised for what stands in `ids` (image rows as the token they count
// as, -1 for nothing).
inline std::vector<float> penalised(
    std::vector<float> logits, const std::vector<std::int32_t>& ids, float penalty
) {
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (std::find(ids.begin(), ids.end(), static_cast<std::int32_t>(token)) == ids.end()) continue;
    float& logit = logits[token];
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
  return logits;
}

struct ReferencePenalty {
  float factor = 1;
  std::int32_t image_token = -1;
  bool numbers = false;  // in constrained mode
};

inline std::vector<std::int32_t> ids_of(
    const std::vector<Code>& codes, const ReferencePenalty& penalty
) {
  std::vector<std::int32_t> ids;
  for (const Code code : codes) {
    ids.push_back(code >= kFirstImageCode ? penalty.image_token : code);
  }
  return ids;
}

inline Answer reference_constrained(
    const FakeModel& model,
    const Form& form,
    std::vector<Code> codes,
    const ReferencePenalty& penalty = {}
) {
  Answer answer;
  answer.follows_form = true;
  for (Grammar grammar(form); !grammar.finished();) {
    const Alphabet& alphabet = form.alphabets()[static_cast<std::size_t>(grammar.alphabet())];
    Alphabet allowed;
    for (const std::int32_t token : alphabet.tokens) {
      if (grammar.allows(token)) allowed.tokens.push_back(token);
    }
    auto logits = model.logits(codes);
    if (penalty.numbers || !grammar.slot().number) {
      logits = penalised(std::move(logits), ids_of(codes, penalty), penalty.factor);
    }
    const auto token = best_of(logits, allowed.tokens);
    answer.tokens.push_back(token);
    Choice choice{.token = token, .probability = 1, .share = 1};
    if (allowed.tokens.size() > 1) {
      // Indexes count the banned tokens too, with a share of nothing.
      for (const std::int32_t banned : alphabet.tokens) {
        if (!grammar.allows(banned)) logits[static_cast<std::size_t>(banned)] = -1e30F;
      }
      choice = describe(logits, allowed.tokens, alphabet, token);
    }
    answer.choices.push_back(choice);
    grammar.accept(token);
    codes.push_back(token);
  }
  return answer;
}

inline Answer reference_greedy(
    const FakeModel& model,
    const Form& form,
    std::vector<Code> codes,
    std::size_t max_tokens,
    const ReferencePenalty& penalty = {}
) {
  Answer answer;
  std::vector<std::int32_t> all;
  for (std::int32_t token = 0; token < model.vocabulary; ++token) all.push_back(token);
  bool in_form = true;
  Grammar grammar(form);
  const Alphabet& numbers = form.alphabets()[0];
  while (answer.tokens.size() < max_tokens) {
    const auto logits = penalised(model.logits(codes), ids_of(codes, penalty), penalty.factor);
    const auto token = best_of(logits, all);
    const bool in_slot = in_form && !grammar.finished();
    const Alphabet& expected =
        in_slot ? form.alphabets()[static_cast<std::size_t>(grammar.alphabet())] : numbers;
    const auto& tokens = expected.tokens;
    const bool inside = std::find(tokens.begin(), tokens.end(), token) != tokens.end();
    answer.tokens.push_back(token);
    answer.choices.push_back(describe(logits, all, inside ? expected : numbers, token));
    codes.push_back(token);
    if (token == model.end && grammar.finished()) break;
    in_form = in_form && grammar.accept(token);
    if (token == model.end) break;
  }
  answer.follows_form = in_form && grammar.finished();
  return answer;
}

}  // namespace edgepose::testing
