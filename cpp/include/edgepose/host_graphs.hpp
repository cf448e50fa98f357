// SPDX-License-Identifier: Apache-2.0
// What this is: the decoder's graphs bound to host memory: what a pass reads and writes beside the
// caches, and one binding a shape.
// Contract: `graphs` outlives it. `make_room` and the passes allocate nothing for shapes that they
// have met since memory last grew.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/decoder_dims.hpp"
#include "edgepose/graphs.hpp"
#include "edgepose/kv_cache.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

namespace edgepose {

// A pass of the decoder. Without a prefix it is the pass that writes the prefix cache.
struct PassShape {
  std::int64_t rows = 1, width = 1, prefix = 0, suffix = 0, looks = 1;

  std::int64_t cells() const noexcept { return rows * width; }
  std::int64_t keys() const noexcept { return prefix + suffix + width; }
  bool writes_prefix() const noexcept { return prefix == 0; }
  auto operator<=>(const PassShape&) const = default;
};

class HostGraphs {
 public:
  // `answer_width`: columns of the answer head.
  HostGraphs(Graphs& graphs, const DecoderDims& dims, std::int64_t answer_width);

  // Forgets all bindings: memory that they point to has moved.
  void release();

  // Makes room for everything that a pass and `head` behind it touch.
  void make_room(const PassShape& shape, Head head);

  // Overwrites the embeddings with zeros: padding must not keep a NaN.
  void erase() noexcept { embedded_.erase(); }

  void run_decoder(const PassShape& shape, KvCache& cache);
  void run_head(const PassShape& shape, Head head);

  // Memory of the pass of `shape` that room was made for last.
  std::byte* embedding(std::int64_t cell) noexcept;
  float* cos(std::int64_t cell) noexcept { return cos_.as<float>() + cell * dims_.head_dim; }
  float* sin(std::int64_t cell) noexcept { return sin_.as<float>() + cell * dims_.head_dim; }
  float* bias() noexcept { return bias_.as<float>(); }  // (rows, width, keys)
  std::int64_t* logit_positions() noexcept { return logit_positions_.as<std::int64_t>(); }
  std::byte* deepstack(const PassShape& shape, std::int64_t layer) noexcept;  // (width, hidden)
  KvCache::Fresh fresh(const PassShape& shape, std::int64_t layer, KeyOrValue which) noexcept;
  std::span<float> logits(std::int64_t cell, Head head) noexcept;  // cell: row * looks + look

  // Seconds spent in the graphs so far.
  double seconds() const noexcept { return seconds_; }

 private:
  using HeadShape = std::array<std::int64_t, 2>;  // head, rows

  void reserve(Buffer& buffer, std::int64_t elements, std::size_t bytes);
  std::int64_t bind_decoder(const PassShape& shape, KvCache& cache);
  std::int64_t head_width(Head head) const noexcept;
  void run_timed(std::int64_t handle);

  Graphs* graphs_;
  DecoderDims dims_;
  std::int64_t answer_width_;
  Buffer embedded_;         // (rows, width, hidden) activations
  Buffer cos_;              // (rows, width, head_dim) float32
  Buffer sin_;              // (rows, width, head_dim) float32
  Buffer bias_;             // (rows, width, keys) float32
  Buffer logit_positions_;  // (rows, looks) int64
  Buffer deepstack_;        // (layers with features, width of the prefix, hidden) activations
  Buffer nothing_;          // (hidden) activations, zeros: image features of a pass without image
  Buffer fresh_;            // (layers, 2, kv_heads, rows, width, head_dim) activations
  Buffer hidden_;           // (rows, looks, hidden) activations
  Buffer logits_;           // (rows * looks, head width) float32
  std::map<PassShape, std::int64_t> decoder_bindings_;
  std::map<HeadShape, std::int64_t> head_bindings_;
  double seconds_ = 0;
};

}  // namespace edgepose
