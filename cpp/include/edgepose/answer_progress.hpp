// SPDX-License-Identifier: Apache-2.0
// What this is: one question's answer while it is decoded: what is certain, what is guessed, what a
// pass chooses and nobody has read yet.
// Contract: passes go `extend`, feed, and where `extend` said so `confirm`. See Note [guesses].
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/backend.hpp"
#include "edgepose/decode_options.hpp"
#include "edgepose/draft.hpp"
#include "edgepose/grammar.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

class AnswerProgress {
 public:
  // `form`, `tokens` of the question, `draft` and `options` must outlive it. `question`: its number
  // with the backend.
  AnswerProgress(
      const Form& form,
      const DecodeOptions& options,
      std::int32_t question,
      std::span<const std::int32_t> tokens,
      const Guess& draft
  );

  // Adds to `step` what the next pass feeds and where it looks; nothing when the answer is whole,
  // and then retires the question. `looks_before`: of all earlier steps. True when the choices have
  // to be read before the next step can be made.
  bool extend(Step& step, std::int64_t looks_before, Backend& backend);

  // Compares guesses with the model's choices. At the first difference the choice takes the place
  // of the guess and everything behind is dropped, from the backend too.
  void confirm(std::span<const Choice> choices, Backend& backend);

  // The whole answer.
  Answer finish(std::span<const Choice> choices);

  // The guesses that were confirmed or not; `free` is known behind `finish`.
  const DraftCount& drafts() const noexcept { return drafts_; }

 private:
  struct Entry {
    Feed token = 0;                      // known, guessed, or chosen by a look that nobody has read
    std::int64_t look = -1;              // that chooses it; -1 when it is certain
    std::optional<std::int32_t> forced;  // what the form says
    bool drafted = false;
    bool by_place = true;  // see Draft::follow
    Draft::Place before = {};
  };

  bool done() const noexcept;
  bool in_form() const noexcept { return grammar_.place() == answer_.size(); }
  void flush(Step& step, Run& run);
  void look(Step& step, const Run& run);
  std::optional<std::int32_t> guess(const std::optional<std::int32_t>& forced) const;
  void push(Entry entry);
  void replace(std::size_t place, std::int32_t token, Backend& backend);

  const DecodeOptions* options_;
  bool exact_;
  std::size_t budget_;
  std::int32_t question_;
  std::span<const std::int32_t> tokens_;
  Grammar grammar_;  // as far as the answer keeps to the form
  Draft draft_;
  std::size_t first_offer_;  // tokens of the draft
  std::vector<Entry> answer_;
  std::size_t fed_ = 0;        // tokens in the cache, of question and answer
  std::size_t confirmed_ = 0;  // tokens of the answer that no choice can change
  bool first_pass_ = true;
  std::size_t offered_ = 0;  // guesses of the draft in the pass at hand
  bool retired_ = false;
  std::size_t most_offered_ = std::numeric_limits<std::size_t>::max();
  DraftCount drafts_;
};

}  // namespace edgepose
