// SPDX-License-Identifier: Apache-2.0
// What this is: alphabets as Python sees them: lists of token ids.
#pragma once

#include "edgepose/logits.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace edgepose::python {

using TokenLists = std::vector<std::vector<std::int32_t>>;

inline TokenLists tokens_of(const std::vector<Alphabet>& alphabets) {
  TokenLists lists;
  for (const Alphabet& alphabet : alphabets) lists.push_back(alphabet.tokens);
  return lists;
}

inline std::vector<Alphabet> alphabets_of(TokenLists lists) {
  std::vector<Alphabet> alphabets;
  for (auto& tokens : lists) alphabets.push_back({std::move(tokens)});
  return alphabets;
}

}  // namespace edgepose::python
