// SPDX-License-Identifier: Apache-2.0
// What this is: a fake world whose answers are blocks of bin tokens, with the reference beside it.
#pragma once

#include "edgepose/block_codec.hpp"
#include "edgepose/decoder.hpp"
#include "edgepose/host_backend.hpp"
#include "expectations.hpp"
#include "fake_world.hpp"
#include "reference_decoder.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgepose::testing {

// Answers in blocks, by models that follow the free form, leave it or end it early.
inline BlockCodec small_blocks() {
  BlockLayout layout;
  layout.blocks = {Block::box, Block::kpt2d, Block::kpt3d};
  layout.between_joints = {8};
  return {
      {.bins = {20, 21, 22, 23, 24},
       .joints = {25, 26, 27},
       .starts = {9, 10, 11},
       .ends = {12, 13, 14},
       .end = kEnd},
      layout
  };
}

struct BlockWorld {
  explicit BlockWorld(Behaviour behaviour)
      : world(behaviour),
        graphs({codec.free(), kVocabulary, kAsk, kEnd, behaviour}, world.dims, head),
        backend(graphs, world.dims, world.embeddings.data(), codec.alphabets(), head),
        decoder(backend) {}

  Answer reference(
      const Form& form, const Asked& asked, std::size_t q, const DecodeOptions& options
  ) const {
    const ReferencePenalty penalty = {
        options.penalty.factor, options.penalty.image_token, options.penalise_numbers
    };
    const auto codes = asked.codes(q);
    const auto budget = static_cast<std::size_t>(options.max_tokens);
    return options.mode == Mode::exact ? reference_greedy(model(), form, codes, budget, penalty)
                                       : reference_constrained(model(), form, codes, penalty);
  }

  // Decodes, and compares with the reference.
  Decoding expect(
      const Form& form,
      const Asked& asked,
      const DecodeOptions& options,
      const std::vector<Guess>& drafts = {}
  ) {
    Prompt prompt = asked.prompt();
    prompt.drafts = drafts;
    auto decoding = decoder.decode(form, prompt, options);
    for (std::size_t q = 0; q < asked.questions.size(); ++q) {
      expect_same(decoding.answers[q], reference(form, asked, q, options));
    }
    return decoding;
  }

  FakeModel& model() { return graphs.model(); }
  const FakeModel& model() const { return const_cast<BlockWorld*>(this)->graphs.model(); }

  const std::vector<std::int32_t> head = {
      8, 9, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 26, 27, 2
  };
  BlockCodec codec = small_blocks();
  FakeWorld world;
  FakeGraphs graphs;
  HostBackend backend;
  Decoder decoder;
};

}  // namespace edgepose::testing
