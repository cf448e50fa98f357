// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_graphs.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace edgepose {

namespace {

constexpr std::size_t kMostBindings = 64;

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

std::size_t plane(std::int64_t layer, KeyOrValue which) noexcept {
  return as_size(2 * layer + static_cast<std::int64_t>(which));
}

}  // namespace

HostGraphs::HostGraphs(Graphs& graphs, const DecoderDims& dims, std::int64_t answer_width)
    : graphs_(&graphs), dims_(dims), answer_width_(answer_width) {
  nothing_.reserve(as_size(dims_.hidden) * size_of(dims_.activations));
}

void HostGraphs::release() {
  decoder_bindings_.clear();
  head_bindings_.clear();
  graphs_->release();
}

// Bindings go first, so that none ever points to memory that is gone, even when there is no more.
void HostGraphs::reserve(Buffer& buffer, std::int64_t elements, std::size_t bytes) {
  const std::size_t size = as_size(elements) * bytes;
  if (size > buffer.capacity()) release();
  buffer.reserve(size);
}

void HostGraphs::make_room(const PassShape& shape, Head head) {
  const std::int64_t cells = shape.cells();
  const std::int64_t looks = shape.rows * shape.looks;
  const std::size_t activation = size_of(dims_.activations);
  reserve(embedded_, cells * dims_.hidden, activation);
  reserve(cos_, cells * dims_.head_dim, sizeof(float));
  reserve(sin_, cells * dims_.head_dim, sizeof(float));
  reserve(bias_, cells * shape.keys(), sizeof(float));
  reserve(logit_positions_, looks, sizeof(std::int64_t));
  reserve(hidden_, looks * dims_.hidden, activation);
  if (shape.writes_prefix()) {
    reserve(deepstack_, dims_.deepstack * shape.width * dims_.hidden, activation);
    return;
  }
  reserve(fresh_, 2 * dims_.layers * dims_.kv_heads * cells * dims_.head_dim, activation);
  reserve(logits_, looks * head_width(head), sizeof(float));
}

std::byte* HostGraphs::embedding(std::int64_t cell) noexcept {
  return embedded_.data() + as_size(cell * dims_.hidden) * size_of(dims_.activations);
}

std::byte* HostGraphs::deepstack(const PassShape& shape, std::int64_t layer) noexcept {
  return deepstack_.data() +
         as_size(layer * shape.width * dims_.hidden) * size_of(dims_.activations);
}

KvCache::Fresh HostGraphs::fresh(
    const PassShape& shape, std::int64_t layer, KeyOrValue which
) noexcept {
  const std::size_t bytes =
      as_size(dims_.kv_heads * shape.cells() * dims_.head_dim) * size_of(dims_.activations);
  return {fresh_.data() + plane(layer, which) * bytes, shape.rows, shape.width};
}

std::span<float> HostGraphs::logits(std::int64_t cell, Head head) noexcept {
  return {logits_.as<float>() + cell * head_width(head), as_size(head_width(head))};
}

std::int64_t HostGraphs::head_width(Head head) const noexcept {
  return head == Head::full ? dims_.vocabulary : answer_width_;
}

void HostGraphs::run_decoder(const PassShape& shape, KvCache& cache) {
  auto found = decoder_bindings_.find(shape);
  if (found == decoder_bindings_.end()) {
    if (decoder_bindings_.size() >= kMostBindings) release();
    found = decoder_bindings_.emplace(shape, bind_decoder(shape, cache)).first;
  }
  run_timed(found->second);
}

std::int64_t HostGraphs::bind_decoder(const PassShape& shape, KvCache& cache) {
  const DataType type = dims_.activations;
  const auto [rows, width, prefix, suffix, looks] = shape;
  std::vector<TensorView> inputs = {
      {"embeddings", type, {rows, width, dims_.hidden}, embedded_.data()},
      {"cos", DataType::float32, {rows, width, dims_.head_dim}, cos_.data()},
      {"sin", DataType::float32, {rows, width, dims_.head_dim}, sin_.data()},
      {"bias", DataType::float32, {rows, width, shape.keys()}, bias_.data()},
      {"logit_positions", DataType::int64, {rows, looks}, logit_positions_.data()}
  };
  // Only the prefix has an image.
  for (std::int64_t layer = 0; layer < dims_.deepstack; ++layer) {
    const bool has_image = shape.writes_prefix();
    inputs.push_back(
        {"deepstack." + std::to_string(layer),
         type,
         {1, has_image ? width : 1, dims_.hidden},
         has_image ? deepstack(shape, layer) : nothing_.data()}
    );
  }
  std::vector<TensorView> outputs;
  for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const std::string name =
          (which == KeyOrValue::key ? "key." : "value.") + std::to_string(layer);
      inputs.push_back(
          {"prefix_" + name,
           type,
           {dims_.kv_heads, 1, prefix, dims_.head_dim},
           cache.prefix(layer, which)}
      );
      inputs.push_back(
          {"suffix_" + name,
           type,
           {dims_.kv_heads, rows, suffix, dims_.head_dim},
           cache.suffix(layer, which)}
      );
      // The prefix pass writes the prefix cache itself. Bindings need addresses to write to.
      const KvCache::Fresh own = fresh(shape, layer, which);
      outputs.push_back(
          {name,
           type,
           {dims_.kv_heads, rows, width, dims_.head_dim},
           shape.writes_prefix() ? cache.prefix(layer, which) : const_cast<std::byte*>(own.data)}
      );
    }
  }
  outputs.push_back({"hidden", type, {rows, looks, dims_.hidden}, hidden_.data()});
  return graphs_->bind("llm_decoder", inputs, outputs);
}

void HostGraphs::run_head(const PassShape& shape, Head head) {
  const std::int64_t rows = shape.rows * shape.looks;
  const HeadShape key{static_cast<std::int64_t>(head), rows};
  auto found = head_bindings_.find(key);
  if (found == head_bindings_.end()) {
    if (head_bindings_.size() >= kMostBindings) release();
    const TensorView input{"hidden", dims_.activations, {rows, dims_.hidden}, hidden_.data()};
    const TensorView output{"logits", DataType::float32, {rows, head_width(head)}, logits_.data()};
    const char* graph = head == Head::full ? "lm_head" : "answer_head";
    found = head_bindings_.emplace(key, graphs_->bind(graph, {&input, 1}, {&output, 1})).first;
  }
  run_timed(found->second);
}

void HostGraphs::run_timed(std::int64_t handle) {
  const auto start = std::chrono::steady_clock::now();
  graphs_->run(handle);
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace edgepose
