// SPDX-License-Identifier: Apache-2.0
// What this is: the backend whose caches, logits and choices lie in host memory.
// Contract: `graphs` and the embedding table outlive the backend. `begin`, `feed` and `feed_prefix`
// allocate nothing for shapes that they have met since memory last grew: all shapes of a prompt,
// from its third time on.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/bin_packing.hpp"
#include "edgepose/graphs.hpp"
#include "edgepose/kv_cache.hpp"
#include "edgepose/rope.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace edgepose {

// Sizes of the decoder, as the bundle states them.
struct DecoderDims {
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocabulary = 0;
  double rope_theta = 10000;
  DataType activations = DataType::float32;
};

class HostBackend final : public Backend {
 public:
  // `embeddings`: (vocabulary, hidden) in the activation type. `alphabets`: those of the answer's
  // form. `answer_head`: the token of each column of the answer head.
  HostBackend(
      Graphs& graphs,
      const DecoderDims& dims,
      const std::byte* embeddings,
      std::vector<Alphabet> alphabets,
      std::span<const std::int32_t> answer_head
  );

  void begin(const Extent& extent) override;
  void feed_prefix(std::span<const std::int32_t> tokens, const std::byte* image) override;
  void feed(const Step& step) override;
  std::span<const Choice> choices() override { return choices_; }
  void truncate(std::int64_t question, std::int64_t length) override;
  double graph_seconds() const noexcept override { return graph_seconds_; }

  const KvCache& cache() const noexcept { return cache_; }

 private:
  struct Shape {
    std::int64_t rows = 1, width = 1, prefix = 0, suffix = 0, looks = 1;
    auto operator<=>(const Shape&) const = default;
  };
  using HeadShape = std::array<std::int64_t, 2>;  // head, rows

  void forget_bindings();
  void make_room(Buffer& buffer, std::size_t bytes);
  void embed(std::int64_t cell, Feed token);
  void write_position(std::int64_t cell, std::int64_t position);
  void write_bias(const Step& step, const Shape& shape);
  void run_decoder(const Shape& shape, bool to_prefix);
  void run_head(Head head, std::int64_t rows);
  void append(const Step& step, const Shape& shape);
  void choose(const Step& step);
  void run_timed(std::int64_t handle);
  std::int64_t head_width(Head head) const noexcept;

  Graphs* graphs_;
  DecoderDims dims_;
  const std::byte* embeddings_;
  std::vector<Alphabet> alphabets_;
  std::vector<std::vector<std::int32_t>> columns_;  // of the answer head; none for a forced token
  std::int64_t answer_width_;
  KvCache cache_;
  Rope rope_;

  Buffer embedded_;         // (rows, width, hidden) activations
  Buffer cos_;              // (rows, width, head_dim) float32
  Buffer sin_;              // (rows, width, head_dim) float32
  Buffer bias_;             // (rows, width, prefix + suffix + width) float32
  Buffer logit_positions_;  // (rows, looks) int64
  Buffer fresh_;            // (layers, 2, kv_heads, rows, width, head_dim) activations
  Buffer hidden_;           // (rows, looks, hidden) activations
  Buffer logits_;           // (rows * looks, head width) float32

  Packer packer_;
  Packing packing_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::int64_t> look_cells_;  // row * looks + column, one a look of the step
  std::vector<std::int64_t> row_looks_;
  std::vector<Choice> choices_;
  std::map<Shape, std::int64_t> decoder_bindings_;
  std::map<HeadShape, std::int64_t> head_bindings_;
  double graph_seconds_ = 0;
  bool interrupted_ = false;  // a pass began and did not end
};

}  // namespace edgepose
