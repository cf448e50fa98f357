// SPDX-License-Identifier: Apache-2.0
// What this is: which tokens a question has behind it, and the repetition penalty that they draw.
// Contract: a token counts once however often it came. Logits are float32 and so is the arithmetic.
// Source: transformers' `RepetitionPenaltyLogitsProcessor`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

// What tokens of the prompt and of the answer so far do to the logits of the next.
struct Penalty {
  float factor = 1;               // above 0; 1 for no penalty
  std::int32_t image_token = -1;  // what an image row counts as; -1: as nothing
};

class TokenHistory {
 public:
  explicit TokenHistory(std::int64_t vocabulary) : vocabulary_(vocabulary) {}

  // Forgets everything. Throws InvalidInput for a penalty without sense.
  void begin(const Penalty& penalty, std::int64_t questions);

  // Whether tokens need be told and logits be changed at all.
  bool active() const noexcept { return penalty_.factor != 1; }

  // The shared prefix, kImageToken for an image row.
  void set_prefix(std::span<const std::int32_t> tokens);

  // The token at `slot` of a question; those behind it are forgotten.
  void set(std::int64_t question, std::int64_t slot, std::int32_t token);

  void truncate(std::int64_t question, std::int64_t length);

  // Penalises logits (column = token id) for the prefix and the first `length` tokens of a
  // question.
  void penalise(std::int64_t question, std::int64_t length, std::span<float> logits);

  // The same for some columns: that of `tokens[k]` is `columns[k]`.
  void penalise(
      std::int64_t question,
      std::int64_t length,
      std::span<float> logits,
      std::span<const std::int32_t> tokens,
      std::span<const std::int32_t> columns
  );

 private:
  bool note(std::int32_t token) noexcept;
  void note_all(std::int64_t question, std::int64_t length);
  float penalised(float logit) const noexcept;

  std::int64_t vocabulary_;
  Penalty penalty_;
  std::vector<std::uint32_t> noted_;  // (vocabulary) number of the look that last saw the token
  std::uint32_t look_ = 0;
  std::vector<std::int32_t> prefix_;                  // different tokens of the prefix
  std::vector<std::vector<std::int32_t>> questions_;  // tokens by slot
  std::vector<std::int32_t> seen_;                    // different tokens behind a look
};

}  // namespace edgepose
