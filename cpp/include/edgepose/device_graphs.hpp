// SPDX-License-Identifier: Apache-2.0
// What this is: the decoder's graphs bound to the memory of a device: what a pass reads and writes,
// and one binding a shape.
// Contract: `graphs` and the device outlive it. When memory moves, all bindings are void, and so is
// everything that was captured of them.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/decoder_dims.hpp"
#include "edgepose/device.hpp"
#include "edgepose/graphs.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

namespace edgepose {

// A pass of the decoder, as long as its segments are bound.
struct DevicePass {
  std::int64_t rows = 1;
  std::int64_t width = 1;
  std::int64_t prefix = 0;  // keys of the prefix segment, and of
  std::int64_t suffix = 0;  // the suffix segment; see `writes_prefix` and `starts`
  std::int64_t looks = 1;
  bool writes_prefix = false;  // both segments are stand-ins
  bool starts = false;         // the suffix segment is a stand-in: nobody has a token yet

  std::int64_t cells() const noexcept { return rows * width; }
  std::int64_t keys() const noexcept { return prefix + suffix + width; }
  auto operator<=>(const DevicePass&) const = default;
};

// Where the caches lie, activations: for each of (layers, 2) a plane of (kv_heads, 1, prefix,
// head_dim), and one of (kv_heads, questions, capacity, head_dim). See Note [planes].
struct DeviceCaches {
  std::byte* prefix = nullptr;
  std::byte* suffix = nullptr;
};

// Note [planes]: TensorRT wants each tensor at a multiple of 256 bytes, so where several share a
// memory, each begins at one, whatever their sizes are.
constexpr std::size_t plane_bytes(std::size_t bytes) noexcept { return (bytes + 255) / 256 * 256; }

class DeviceGraphs {
 public:
  // `answer_width`: columns of the answer head.
  DeviceGraphs(Device& device, Graphs& graphs, const DecoderDims& dims, std::int64_t answer_width);

  // Whether there is room for everything that a pass and `head` behind it touch.
  bool has_room(const DevicePass& pass, Head head);
  // Makes it; nothing may be under way then, and all bindings are to be released.
  void make_room(const DevicePass& pass, Head head);

  void release();

  // Overwrites with zeros what padding may leave as it was.
  void erase();

  // Makes the binding of a pass, unless it has one.
  void bind(const DevicePass& pass, const DeviceCaches& caches, Head head, bool looks);

  // More shapes than a backend should hold on to.
  bool crowded() const noexcept;

  void run_decoder(const DevicePass& pass);
  void run_head(const DevicePass& pass, Head head);

  // Tells the graphs that a pass is on its way.
  void tell(const DevicePass& pass) { graphs_->passed(decoder_bindings_.at(pass)); }

  // Memory of the pass that room was made for last.
  std::byte* embedded() noexcept { return embedded_.data(); }
  std::byte* deepstack(const DevicePass& pass, std::int64_t layer) noexcept;
  float* cos() noexcept { return cos_.as<float>(); }
  float* sin() noexcept { return sin_.as<float>(); }
  float* bias() noexcept { return bias_.as<float>(); }
  std::int64_t* logit_positions() noexcept { return logit_positions_.as<std::int64_t>(); }
  const std::byte* fresh() noexcept { return fresh_.data(); }
  float* logits() noexcept { return logits_.as<float>(); }
  std::int64_t head_width(Head head) const noexcept;

  // Bytes from one plane of keys or values to the next, where each head has so many rows.
  std::size_t cache_plane(std::int64_t rows) const noexcept;

 private:
  using HeadShape = std::array<std::int64_t, 2>;  // head, rows

  template <typename Visit>
  void visit_needs(const DevicePass& pass, Head head, const Visit& visit);
  std::size_t deepstack_plane(const DevicePass& pass) const noexcept;
  std::int64_t bind_decoder(const DevicePass& pass, const DeviceCaches& caches);
  std::int64_t bind_head(const DevicePass& pass, Head head);

  Device* device_;
  Graphs* graphs_;
  DecoderDims dims_;
  std::int64_t answer_width_;
  DeviceBuffer embedded_;         // (rows, width, hidden) activations
  DeviceBuffer cos_;              // (rows, width, head_dim) float32
  DeviceBuffer sin_;              // (rows, width, head_dim) float32
  DeviceBuffer bias_;             // (rows, width, keys) float32
  DeviceBuffer logit_positions_;  // (rows, looks) int64
  DeviceBuffer deepstack_;  // for each layer a plane of (width of the prefix, hidden) activations
  DeviceBuffer stand_in_;   // zeros: a segment that has no tokens, features of no image
  DeviceBuffer fresh_;      // (layers, 2) planes of (kv_heads, rows, width, head_dim) activations
  DeviceBuffer hidden_;     // (rows, looks, hidden) activations
  DeviceBuffer logits_;     // (rows * looks, head width) float32
  std::map<DevicePass, std::int64_t> decoder_bindings_;
  std::map<HeadShape, std::int64_t> head_bindings_;
};

}  // namespace edgepose
