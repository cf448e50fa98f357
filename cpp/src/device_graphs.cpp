// SPDX-License-Identifier: Apache-2.0
#include "edgepose/device_graphs.hpp"

#include "edgepose/kv_cache.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace edgepose {

namespace {

constexpr std::size_t kMostBindings = 64;

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

}  // namespace

DeviceGraphs::DeviceGraphs(
    Device& device, Graphs& graphs, const DecoderDims& dims, std::int64_t answer_width
)
    : device_(&device),
      graphs_(&graphs),
      dims_(dims),
      answer_width_(answer_width),
      embedded_(device),
      cos_(device),
      sin_(device),
      bias_(device),
      logit_positions_(device),
      deepstack_(device),
      stand_in_(device),
      fresh_(device),
      hidden_(device),
      logits_(device) {}

void DeviceGraphs::release() {
  decoder_bindings_.clear();
  head_bindings_.clear();
  graphs_->release();
}

void DeviceGraphs::erase() {
  embedded_.erase();
  fresh_.erase();
}

template <typename Visit>
void DeviceGraphs::visit_needs(const DevicePass& pass, Head head, const Visit& visit) {
  const std::int64_t cells = pass.cells();
  const std::int64_t looks = pass.rows * pass.looks;
  const std::size_t activation = size_of(dims_.activations);
  const auto need = [&](DeviceBuffer& buffer, std::int64_t elements, std::size_t bytes) {
    visit(buffer, as_size(elements) * bytes);
  };
  need(embedded_, cells * dims_.hidden, activation);
  need(cos_, cells * dims_.head_dim, sizeof(float));
  need(sin_, cells * dims_.head_dim, sizeof(float));
  need(bias_, cells * pass.keys(), sizeof(float));
  need(logit_positions_, looks, sizeof(std::int64_t));
  need(hidden_, looks * dims_.hidden, activation);
  const std::int64_t slots = dims_.kv_heads * pass.rows * dims_.head_dim;
  need(stand_in_, std::max(slots, dims_.hidden), activation);
  if (pass.writes_prefix) {
    visit(deepstack_, as_size(dims_.deepstack) * deepstack_plane(pass));
  } else {
    visit(fresh_, as_size(2 * dims_.layers) * cache_plane(cells));
    need(logits_, looks * head_width(head), sizeof(float));
  }
}

bool DeviceGraphs::has_room(const DevicePass& pass, Head head) {
  bool room = true;
  visit_needs(pass, head, [&](DeviceBuffer& buffer, std::size_t bytes) {
    room = room && buffer.holds(bytes);
  });
  return room;
}

void DeviceGraphs::make_room(const DevicePass& pass, Head head) {
  visit_needs(pass, head, [](DeviceBuffer& buffer, std::size_t bytes) { buffer.reserve(bytes); });
}

bool DeviceGraphs::crowded() const noexcept {
  return std::max(decoder_bindings_.size(), head_bindings_.size()) >= kMostBindings;
}

std::byte* DeviceGraphs::deepstack(const DevicePass& pass, std::int64_t layer) noexcept {
  return deepstack_.data() + as_size(layer) * deepstack_plane(pass);
}

std::size_t DeviceGraphs::deepstack_plane(const DevicePass& pass) const noexcept {
  return plane_bytes(as_size(pass.width * dims_.hidden) * size_of(dims_.activations));
}

std::size_t DeviceGraphs::cache_plane(std::int64_t rows) const noexcept {
  const std::int64_t elements = dims_.kv_heads * rows * dims_.head_dim;
  return plane_bytes(as_size(elements) * size_of(dims_.activations));
}

std::int64_t DeviceGraphs::head_width(Head head) const noexcept {
  return head == Head::full ? dims_.vocabulary : answer_width_;
}

void DeviceGraphs::bind(const DevicePass& pass, const DeviceCaches& caches, Head head, bool looks) {
  if (!decoder_bindings_.contains(pass)) {
    decoder_bindings_.emplace(pass, bind_decoder(pass, caches));
  }
  const HeadShape key{static_cast<std::int64_t>(head), pass.rows * pass.looks};
  if (looks && !head_bindings_.contains(key)) head_bindings_.emplace(key, bind_head(pass, head));
}

void DeviceGraphs::run_decoder(const DevicePass& pass) {
  device_->run(*graphs_, decoder_bindings_.at(pass));
}

void DeviceGraphs::run_head(const DevicePass& pass, Head head) {
  device_->run(
      *graphs_, head_bindings_.at({static_cast<std::int64_t>(head), pass.rows * pass.looks})
  );
}

std::int64_t DeviceGraphs::bind_decoder(const DevicePass& pass, const DeviceCaches& caches) {
  const DataType type = dims_.activations;
  const std::int64_t rows = pass.rows;
  const std::int64_t width = pass.width;
  std::vector<TensorView> inputs = {
      {"embeddings", type, {rows, width, dims_.hidden}, embedded_.data()},
      {"cos", DataType::float32, {rows, width, dims_.head_dim}, cos_.data()},
      {"sin", DataType::float32, {rows, width, dims_.head_dim}, sin_.data()},
      {"bias", DataType::float32, {rows, width, pass.keys()}, bias_.data()},
      {"logit_positions", DataType::int64, {rows, pass.looks}, logit_positions_.data()}
  };
  // Only the prefix has an image.
  for (std::int64_t layer = 0; layer < dims_.deepstack; ++layer) {
    inputs.push_back(
        {"deepstack." + std::to_string(layer),
         type,
         {1, pass.writes_prefix ? width : 1, dims_.hidden},
         pass.writes_prefix ? deepstack(pass, layer) : stand_in_.data()}
    );
  }
  const std::size_t prefix_plane = cache_plane(pass.writes_prefix ? width : pass.prefix);
  const std::size_t suffix_plane = cache_plane(rows * pass.suffix);
  const std::size_t fresh_plane = cache_plane(pass.cells());
  const bool no_suffix = pass.writes_prefix || pass.starts;
  std::vector<TensorView> outputs;
  for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const auto plane = as_size(2 * layer + static_cast<std::int64_t>(which));
      const std::string name =
          (which == KeyOrValue::key ? "key." : "value.") + std::to_string(layer);
      std::byte* const prefix = caches.prefix + plane * prefix_plane;
      inputs.push_back(
          {"prefix_" + name,
           type,
           {dims_.kv_heads, 1, pass.prefix, dims_.head_dim},
           pass.writes_prefix ? stand_in_.data() : prefix}
      );
      inputs.push_back(
          {"suffix_" + name,
           type,
           {dims_.kv_heads, rows, pass.suffix, dims_.head_dim},
           no_suffix ? stand_in_.data() : caches.suffix + plane * suffix_plane}
      );
      outputs.push_back(
          {name,
           type,
           {dims_.kv_heads, rows, width, dims_.head_dim},
           pass.writes_prefix ? prefix : fresh_.data() + plane * fresh_plane}
      );
    }
  }
  outputs.push_back({"hidden", type, {rows, pass.looks, dims_.hidden}, hidden_.data()});
  return graphs_->bind("llm_decoder", inputs, outputs);
}

std::int64_t DeviceGraphs::bind_head(const DevicePass& pass, Head head) {
  const std::int64_t rows = pass.rows * pass.looks;
  const TensorView input{"hidden", dims_.activations, {rows, dims_.hidden}, hidden_.data()};
  const TensorView output{"logits", DataType::float32, {rows, head_width(head)}, logits_.data()};
  return graphs_->bind(head == Head::full ? "lm_head" : "answer_head", {&input, 1}, {&output, 1});
}

}  // namespace edgepose
