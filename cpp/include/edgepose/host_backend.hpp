// SPDX-License-Identifier: Apache-2.0
// What this is: the backend whose caches, logits and choices lie in host memory.
// Contract: `graphs` and the embedding table outlive the backend. `begin`, `feed` and `feed_prefix`
// allocate nothing for shapes that they have met since memory last grew: all shapes of a prompt,
// from its third time on.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/bin_packing.hpp"
#include "edgepose/decoder_dims.hpp"
#include "edgepose/host_graphs.hpp"
#include "edgepose/kv_cache.hpp"
#include "edgepose/question_rows.hpp"
#include "edgepose/rope.hpp"
#include "edgepose/token_history.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace edgepose {

class HostBackend final : public Backend {
 public:
  // `embeddings`: (vocabulary, hidden) in the activation type. `alphabets`: those that forms refer
  // to; the first has the numbers. `answer_head`: the token of each column of the answer head.
  HostBackend(
      Graphs& graphs,
      const DecoderDims& dims,
      const std::byte* embeddings,
      std::vector<Alphabet> alphabets,
      std::span<const std::int32_t> answer_head
  );

  const std::vector<Alphabet>& alphabets() const noexcept override { return alphabets_; }
  void begin(const Extent& extent) override;
  void feed_prefix(const Prefix& prefix) override;
  void feed(const Step& step) override;
  std::span<const Choice> choices() override { return choices_; }
  void truncate(std::int64_t question, std::int64_t length) override;
  void retire(std::int64_t question) override { rows_.retire(question); }
  double graph_seconds() const noexcept override { return graphs_.seconds() - seconds_before_; }

  const KvCache& cache() const noexcept { return cache_; }

 private:
  void write_deepstack(const Prefix& prefix, const PassShape& shape);
  void admit(const Step& step);
  PassShape lay_out(const Step& step);
  std::int32_t token_of(Feed feed) const;
  void embed(std::int64_t cell, std::int32_t token);
  void write_inputs(const Step& step, const PassShape& shape);
  void write_bias(const Step& step, const PassShape& shape);
  void append(const Step& step, const PassShape& shape);
  void choose(const Step& step);
  Choice choose(const Step& step, const Look& look, const Run& run, std::int64_t cell);

  DecoderDims dims_;
  const std::byte* embeddings_;
  std::vector<Alphabet> alphabets_;
  std::vector<std::vector<std::int32_t>> columns_;  // of the answer head; none for a forced token
  HostGraphs graphs_;
  KvCache cache_;
  Rope rope_;
  TokenHistory history_;

  Extent extent_;
  QuestionRows rows_;                // in the cache
  std::vector<Position> positions_;  // of the prefix's tokens
  std::int64_t next_position_ = 0;   // of a suffix's first token
  Packer packer_;
  Packing packing_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::int64_t> look_cells_;  // row * looks + column, one a look of the step
  std::vector<std::int64_t> row_looks_;
  std::vector<Choice> choices_;
  double seconds_before_ = 0;  // in the graphs, before the last `begin`
  bool interrupted_ = false;   // a pass began and did not end
};

}  // namespace edgepose
