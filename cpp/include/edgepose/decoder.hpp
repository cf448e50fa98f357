// SPDX-License-Identifier: Apache-2.0
// What this is: the loop from prompt to answers. All questions share one image prefix and run as
// one batch; tokens that the form forces ride along with free ones.
// Contract: for one thread at a time. `constrained` always yields an answer of the form; `exact`
// yields the tokens of plain greedy search over the whole vocabulary, whatever they are.
// Source: greedy `generate` as called in LocLLM `utils/valid2d.py` and in TAIHRI's evaluation.
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/backend.hpp"
#include "edgepose/grammar.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

enum class Mode : std::uint8_t { constrained, exact };

// What to ask: tokens (and image rows) before all questions, then each question's own tokens.
struct Prompt {
  std::span<const std::int32_t> prefix;  // kImageToken stands for an image row; at least one token
  const std::byte* image = nullptr;      // (image rows, hidden) in the activation type
  std::span<const std::vector<std::int32_t>> questions;  // each at least one token
  std::optional<ImageGrid> grid = {};                    // see Prefix
  std::span<const std::byte* const> deepstack = {};      // see Prefix
};

struct DecodeOptions {
  Mode mode = Mode::constrained;
  std::int32_t max_tokens = 0;     // answer length at which exact decoding stops
  std::int32_t end = -1;           // token that ends an answer early in exact mode
  std::int64_t max_positions = 0;  // context length of the model
  // For repetition. In exact mode it holds for every token; in constrained mode for free tokens,
  // numbers only where it says so.
  Penalty penalty = {};
  bool penalise_numbers = false;
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
};

class Decoder {
 public:
  // `backend` outlives the decoder.
  explicit Decoder(Backend& backend) : backend_(&backend) {}

  // `form`: of the answers, over the backend's alphabets; InvalidInput otherwise.
  Decoding decode(const Form& form, const Prompt& prompt, const DecodeOptions& options);

 private:
  void begin(
      const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
  );
  void feed(Decoding& decoding);
  void decode_constrained(
      const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
  );
  void decode_exact(
      const Form& form, const Prompt& prompt, const DecodeOptions& options, Decoding& decoding
  );

  Backend* backend_;
  Step step_;
};

}  // namespace edgepose
