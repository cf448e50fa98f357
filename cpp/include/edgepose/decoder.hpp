// SPDX-License-Identifier: Apache-2.0
// What this is: the loop from prompt to answers. All questions share one image prefix and run as
// one batch, or in groups that the backend takes; tokens that the form forces ride along with free
// ones, and so do drafts of the answers.
// Contract: for one thread at a time. `constrained` always yields an answer of the form; `exact`
// yields the tokens of plain greedy search over the whole vocabulary, whatever they are. Drafts
// change the number of passes and nothing else.
// Source: greedy `generate` as called in LocLLM `utils/valid2d.py` and in TAIHRI's evaluation.
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/backend.hpp"
#include "edgepose/decode_options.hpp"
#include "edgepose/draft.hpp"
#include "edgepose/grammar.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

class AnswerProgress;

// What to ask: tokens (and image rows) before all questions, then each question's own tokens.
struct Prompt {
  std::span<const std::int32_t> prefix;  // kImageToken stands for an image row; at least one token
  const std::byte* image = nullptr;      // (image rows, hidden) in the activation type
  std::span<const std::vector<std::int32_t>> questions;  // each at least one token
  std::optional<ImageGrid> grid = {};                    // see Prefix
  std::span<const std::byte* const> deepstack = {};      // see Prefix
  std::span<const Guess> drafts = {};                    // one a question, or none at all
  bool image_on_device = false;                          // see Prefix
};

// How often the decoder graph ran.
struct PassCount {
  std::int32_t prefix = 0;
  std::int32_t suffix = 0;
  std::int32_t decode = 0;
};

struct DecodeSeconds {
  double prefix = 0;
  double suffix = 0;
  double decode = 0;
  double graphs = 0;  // part of the sum of the three that was spent inside the graphs
};

struct Decoding {
  std::vector<Answer> answers;  // one a question
  PassCount passes;
  DecodeSeconds seconds;
  DraftCount drafts;  // of all answers
};

class Decoder {
 public:
  // `backend` outlives the decoder.
  explicit Decoder(Backend& backend) : backend_(&backend) {}

  // `form`: of the answers, over the backend's alphabets; InvalidInput otherwise.
  Decoding decode(const Form& form, const Prompt& prompt, const DecodeOptions& options);

  // Into how many groups so many questions are split, each with passes of its own.
  std::int64_t groups(std::int64_t questions) const noexcept;

 private:
  void begin(
      const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
  );
  void answer_group(std::span<AnswerProgress> group, Mode mode, Decoding& decoding);
  void feed(Decoding& decoding, bool first);
  std::int64_t group_size(const Prompt& prompt) const noexcept;

  Backend* backend_;
  Step step_;
  std::int64_t looks_ = 0;                       // of all steps so far
  std::vector<double DecodeSeconds::*> stages_;  // that each pass belongs to
};

}  // namespace edgepose
