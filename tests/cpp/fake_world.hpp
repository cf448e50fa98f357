// SPDX-License-Identifier: Apache-2.0
// What this is: a fake model with its codec, graphs, embedding table and backend, and random prompts
// to ask it.
#pragma once

#include "edgepose/decoder.hpp"
#include "edgepose/digit_codec.hpp"
#include "edgepose/host_backend.hpp"
#include "fake_graphs.hpp"
#include "fake_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace edgepose::testing {

constexpr std::int32_t kEnd = 2;
constexpr std::int32_t kAsk = 3;
constexpr std::int32_t kFirstWord = 30;  // tokens below have a role
constexpr std::int32_t kVocabulary = 64;
// As in the published codec, the zero before the point is the digit 0.
constexpr DigitTokens kTokens = {
    .open = 4,
    .zero = 20,
    .point = 5,
    .comma = 6,
    .close = 7,
    .digits = {20, 21, 22, 23, 24, 25, 26, 27, 28, 29}
};

inline std::vector<std::int32_t> answer_tokens() {
  return {4, 5, 6, 7, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};
}

// Owns what a Prompt looks at.
struct Asked {
  std::vector<std::int32_t> prefix;
  std::vector<Code> prefix_codes;  // image rows by their codes
  std::vector<std::byte> image;
  std::vector<std::vector<std::int32_t>> questions;

  Prompt prompt() const { return {prefix, image.empty() ? nullptr : image.data(), questions}; }

  std::vector<Code> codes(std::size_t question) const {
    std::vector<Code> all = prefix_codes;
    all.insert(all.end(), questions[question].begin(), questions[question].end());
    return all;
  }
};

struct FakeWorld {
  explicit FakeWorld(
      Behaviour behaviour = Behaviour::follows_form,
      DataType type = DataType::float32,
      std::int64_t layers = 2
  )
      : codec({3, 3}, kTokens),
        dims{
            .hidden = FakeGraphs::kHidden,
            .layers = layers,
            .heads = 4,
            .kv_heads = 2,
            .head_dim = FakeGraphs::kHeadDim,
            .vocabulary = kVocabulary,
            .rope_theta = 40000,
            .activations = type
        },
        model{codec.form(), kVocabulary, kAsk, kEnd, behaviour},
        graphs(model, dims, answer_tokens()),
        embeddings(rows(kVocabulary)),
        backend(graphs, dims, embeddings.data(), codec.alphabets(), answer_tokens()),
        decoder(backend) {
    for (Code code = 0; code < kVocabulary; ++code) write_row(embeddings, code, code);
  }

  std::vector<std::byte> rows(std::int64_t count) const {
    return std::vector<std::byte>(
        static_cast<std::size_t>(count * dims.hidden) * size_of(dims.activations)
    );
  }

  void write_row(std::vector<std::byte>& table, std::int64_t row, Code code) const {
    for (std::int64_t k = 0; k < dims.hidden; ++k) {
      store(dims.activations, table.data(), row * dims.hidden + k, embedding_element(code, k));
    }
  }

  // `prefix`: kImageToken for an image row, whose code is chosen here.
  Asked ask(
      std::mt19937& random,
      std::vector<std::int32_t> prefix,
      const std::vector<std::size_t>& question_lengths
  ) const {
    Asked asked;
    asked.image = rows(std::count(prefix.begin(), prefix.end(), kImageToken));
    std::int64_t image_row = 0;
    for (const std::int32_t token : prefix) {
      const auto code = static_cast<Code>(kFirstImageCode + random() % 1024);
      asked.prefix_codes.push_back(token == kImageToken ? code : token);
      if (token == kImageToken) write_row(asked.image, image_row++, code);
    }
    asked.prefix = std::move(prefix);
    for (const std::size_t length : question_lengths) {
      auto& question = asked.questions.emplace_back();
      while (question.size() + 1 < length) question.push_back(word(random));
      question.push_back(kAsk);
    }
    return asked;
  }

  // Random prefix (text, image, text) and `count` questions of ragged length.
  Asked ask(std::mt19937& random, std::size_t count) const {
    std::vector<std::int32_t> prefix;
    for (auto n = 1 + random() % 4; n > 0; --n) prefix.push_back(word(random));
    for (auto n = random() % 9; n > 0; --n) prefix.push_back(kImageToken);
    for (auto n = random() % 4; n > 0; --n) prefix.push_back(word(random));
    std::vector<std::size_t> lengths;
    const auto longest = 1 + random() % 20;
    while (lengths.size() < count) lengths.push_back(1 + random() % longest);
    return ask(random, std::move(prefix), lengths);
  }

  static std::int32_t word(std::mt19937& random) {
    return static_cast<std::int32_t>(kFirstWord + random() % (kVocabulary - kFirstWord));
  }

  Decoding decode(const Asked& asked, const DecodeOptions& options) {
    return decoder.decode(model.form, asked.prompt(), options);
  }

  DecodeOptions options(Mode mode, std::int32_t max_tokens = 13) const {
    return {.mode = mode, .max_tokens = max_tokens, .end = kEnd, .max_positions = 300};
  }

  DigitCodec codec;
  DecoderDims dims;
  FakeModel model;
  FakeGraphs graphs;
  std::vector<std::byte> embeddings;
  HostBackend backend;
  Decoder decoder;
};

}  // namespace edgepose::testing
