// SPDX-License-Identifier: Apache-2.0
// What this is: a language model that is a plain function from a sequence of tokens to logits.
// Contract: every code of the sequence and its order change all logits, by way of a hash. A boosted
// token makes answers follow the form, leave it or end early, as the behaviour says.
#pragma once

#include "edgepose/grammar.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepose::testing {

// A token id, or kFirstImageCode + k for the k-th kind of image row.
using Code = std::int32_t;
constexpr Code kFirstImageCode = 512;

inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

inline std::uint64_t hash_of(const std::vector<Code>& codes, std::size_t count) {
  std::uint64_t hash = 1;
  for (std::size_t i = 0; i < count; ++i) {
    hash = mix(hash ^ static_cast<std::uint64_t>(static_cast<std::uint32_t>(codes[i])));
  }
  return hash;
}

enum class Behaviour : std::uint8_t {
  follows_form,
  never_follows,
  skips_opening,  // starts with what belongs behind " [0."
  leaves_somewhere,
  ends_early
};

struct FakeModel {
  Form form;  // of the answers of models that follow one
  std::int32_t vocabulary = 0;
  std::int32_t ask = 0;  // the last token of every question, and of nothing else
  std::int32_t end = 0;
  Behaviour behaviour = Behaviour::follows_form;

  std::vector<float> logits(const std::vector<Code>& codes) const {
    const std::uint64_t hash = hash_of(codes, codes.size());
    std::vector<float> result;
    for (std::int32_t token = 0; token < vocabulary; ++token) {
      const auto bits = mix(hash ^ (static_cast<std::uint64_t>(token) << 32)) >> 40;
      result.push_back(static_cast<float>(bits) / static_cast<float>(1U << 21) - 4.0F);
    }
    result[static_cast<std::size_t>(wanted(codes, hash))] += 12.0F;
    return result;
  }

 private:
  std::int32_t wanted(const std::vector<Code>& codes, std::uint64_t hash) const {
    const auto asked = std::find(codes.rbegin(), codes.rend(), ask);
    const auto place = static_cast<std::size_t>(asked - codes.rbegin());
    const std::uint64_t prompt = hash_of(codes, codes.size() - place);
    const auto slots = static_cast<std::size_t>(form.longest());
    const std::vector<std::int32_t> answer(asked.base(), codes.end());
    switch (behaviour) {
      case Behaviour::follows_form:
        return in_form(answer, hash);
      case Behaviour::never_follows:
        return outside_form(answer, hash);
      case Behaviour::skips_opening:
        return place + 3 < form.slots().size() ? in_slot(place + 3, hash) : end;
      case Behaviour::leaves_somewhere: {
        const std::size_t leaves_at = prompt % slots;
        return place < leaves_at ? in_form(answer, hash) : outside_form(answer, hash);
      }
      case Behaviour::ends_early: {
        const std::size_t ends_at = prompt % (slots + 1);
        return place < ends_at ? in_form(answer, hash) : end;
      }
    }
    return end;
  }

  const std::vector<std::int32_t>& tokens_of(const Slot& slot) const {
    return form.alphabets()[static_cast<std::size_t>(slot.alphabet)].tokens;
  }

  std::int32_t in_slot(std::size_t slot, std::uint64_t hash) const {
    const auto& tokens = tokens_of(form.slots()[slot]);
    return tokens[hash % tokens.size()];
  }

  // What the form allows behind an answer; nothing where it has left the form or is whole.
  std::vector<std::int32_t> allowed(const std::vector<std::int32_t>& answer) const {
    Grammar grammar(form);
    for (const std::int32_t token : answer) {
      if (!grammar.accept(token)) return {};
    }
    if (grammar.finished()) return {};
    std::vector<std::int32_t> tokens;
    for (const std::int32_t token : tokens_of(grammar.slot())) {
      if (grammar.allows(token)) tokens.push_back(token);
    }
    return tokens;
  }

  std::int32_t in_form(const std::vector<std::int32_t>& answer, std::uint64_t hash) const {
    const auto tokens = allowed(answer);
    return tokens.empty() ? end : tokens[hash % tokens.size()];
  }

  std::int32_t outside_form(const std::vector<std::int32_t>& answer, std::uint64_t hash) const {
    const auto tokens = allowed(answer);
    for (std::uint64_t k = hash;; ++k) {
      const auto token = static_cast<std::int32_t>(k % static_cast<std::uint64_t>(vocabulary));
      if (token == ask || token == end) continue;
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) return token;
    }
  }
};

}  // namespace edgepose::testing
