// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_backend.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace edgepose {

// Note [masked slots]
// A pass reads whole buffers: every slot of every suffix, padding included. What may not be seen
// gets kMasked added to its score, which leaves exactly 0 after the softmax in float32. So masked
// slots need not be erased, but they must hold finite numbers, which `Buffer` provides by starting
// from zeros.

namespace {

constexpr float kMasked = -30000.0F;
constexpr std::size_t kMostBindings = 64;

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

// A decoder layer in floating-point operations: its linear layers for one token (feed-forward width
// taken as 8/3 of the hidden size, as in Llama), and attention for one query-key pair. The score
// itself passes memory several times (concatenation, bias, softmax, split), which on CPUs weighs
// like some hundred operations.
PackingCost cost_of(const DecoderDims& dims) {
  const auto hidden = static_cast<double>(dims.hidden);
  const auto queries = static_cast<double>(dims.heads * dims.head_dim);
  const auto keys = static_cast<double>(dims.kv_heads * dims.head_dim);
  PackingCost cost;
  cost.token = 2 * hidden * (2 * queries + 2 * keys + 8 * hidden);
  cost.pair = static_cast<double>(dims.heads) * (4 * static_cast<double>(dims.head_dim) + 400);
  return cost;
}

}  // namespace

HostBackend::HostBackend(
    Graphs& graphs,
    const DecoderDims& dims,
    const std::byte* embeddings,
    std::vector<Alphabet> alphabets,
    std::span<const std::int32_t> answer_head
)
    : graphs_(&graphs),
      dims_(dims),
      embeddings_(embeddings),
      alphabets_(std::move(alphabets)),
      answer_width_(static_cast<std::int64_t>(answer_head.size())),
      cache_({dims.layers, dims.kv_heads, dims.head_dim, dims.activations}),
      rope_(dims.head_dim, dims.rope_theta) {
  for (const Alphabet& alphabet : alphabets_) {
    auto& columns = columns_.emplace_back();
    for (const std::int32_t token : alphabet.tokens) {
      EDGEPOSE_CHECK(
          token >= 0 && token < dims.vocabulary,
          BundleError,
          "[codec] token ids in [0, ",
          dims.vocabulary,
          "); got ",
          token,
          "; export the bundle again"
      );
      if (alphabet.tokens.size() == 1) continue;  // forced: the answer head is not asked
      const auto found = std::find(answer_head.begin(), answer_head.end(), token);
      EDGEPOSE_CHECK(
          found != answer_head.end(),
          BundleError,
          "[answer head] a column for every token that may be chosen; token ",
          token,
          " has none; export the bundle again"
      );
      columns.push_back(static_cast<std::int32_t>(found - answer_head.begin()));
    }
  }
}

void HostBackend::forget_bindings() {
  decoder_bindings_.clear();
  head_bindings_.clear();
  graphs_->release();
}

// Bindings go first, so that none ever points to memory that is gone, even when there is no more.
void HostBackend::make_room(Buffer& buffer, std::size_t bytes) {
  if (bytes > buffer.capacity()) forget_bindings();
  buffer.reserve(bytes);
}

void HostBackend::begin(const Extent& extent) {
  if (cache_.reset(extent.prefix, extent.questions, extent.suffix)) forget_bindings();
  rope_.reserve(extent.prefix + extent.suffix);
  if (interrupted_) {
    cache_.erase();
    embedded_.erase();
    interrupted_ = false;
  }
  choices_.clear();
  graph_seconds_ = 0;
}

void HostBackend::embed(std::int64_t cell, Feed token) {
  const std::size_t bytes = as_size(dims_.hidden) * size_of(dims_.activations);
  if (is_choice(token)) {
    const auto look = as_size(look_of(token));
    if (look >= choices_.size()) {
      internal_error("host backend", message("look ", look, " of ", choices_.size()));
    }
    token = choices_[look].token;
  }
  EDGEPOSE_CHECK(
      token < dims_.vocabulary,
      InvalidInput,
      "[prompt] token ids below ",
      dims_.vocabulary,
      "; got ",
      token
  );
  std::memcpy(
      embedded_.data() + as_size(cell) * bytes,
      embeddings_ + static_cast<std::size_t>(token) * bytes,
      bytes
  );
}

void HostBackend::write_position(std::int64_t cell, std::int64_t position) {
  const auto at = cell * dims_.head_dim;
  rope_.write(position, cos_.as<float>() + at, sin_.as<float>() + at);
}

void HostBackend::feed_prefix(std::span<const std::int32_t> tokens, const std::byte* image) {
  interrupted_ = true;
  Shape shape;
  shape.width = static_cast<std::int64_t>(tokens.size());
  const std::size_t row = as_size(dims_.hidden) * size_of(dims_.activations);
  const std::size_t cells = tokens.size();
  make_room(embedded_, cells * row);
  make_room(cos_, cells * as_size(dims_.head_dim) * sizeof(float));
  make_room(sin_, cells * as_size(dims_.head_dim) * sizeof(float));
  make_room(bias_, cells * cells * sizeof(float));
  make_room(logit_positions_, sizeof(std::int64_t));
  make_room(hidden_, row);

  std::int64_t image_row = 0;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const auto index = static_cast<std::int64_t>(cell);
    if (tokens[cell] == kImageToken) {
      std::memcpy(embedded_.data() + cell * row, image + as_size(image_row++) * row, row);
    } else {
      embed(index, tokens[cell]);
    }
    write_position(index, index);
    float* bias = bias_.as<float>() + cell * cells;
    std::fill_n(bias, cell + 1, 0.0F);
    std::fill(bias + cell + 1, bias + cells, kMasked);
  }
  // Nobody asks for a token here; the graph wants one position all the same.
  *logit_positions_.as<std::int64_t>() = shape.width - 1;
  run_decoder(shape, true);
  interrupted_ = false;
}

void HostBackend::feed(const Step& step) {
  if (step.runs.empty()) return;
  lengths_.clear();
  bool behind_others = false;  // does any suffix hold tokens already?
  for (const Run& run : step.runs) {
    if (run.slot != cache_.length(run.question)) {
      internal_error(
          "host backend",
          message("slot ", run.slot, " fed, ", cache_.length(run.question), " in the cache")
      );
    }
    cache_.expect_room(run.question, run.slot + run.count);
    lengths_.push_back(run.count);
    behind_others |= cache_.length(run.question) > 0;
  }
  interrupted_ = true;
  Shape shape;
  shape.prefix = cache_.prefix_length();
  if (behind_others) {
    // Row r of the caches is question r, so every question has a row, fed or not.
    lengths_.assign(as_size(cache_.questions()), 1);
    for (const Run& run : step.runs) lengths_[as_size(run.question)] = run.count;
    pack_padded(lengths_, packing_);
    for (std::size_t i = 0; i < step.runs.size(); ++i) {
      packing_.places[i] = {step.runs[i].question, 0};
    }
    shape.suffix = cache_.capacity();
  } else {
    packer_.pack(lengths_, shape.prefix, cost_of(dims_), packing_);
  }
  shape.rows = packing_.rows;
  shape.width = packing_.width;

  row_looks_.assign(as_size(shape.rows), 0);
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    row_looks_[as_size(packing_.places[i].row)] += step.runs[i].looks;
  }
  shape.looks = std::max<std::int64_t>(1, *std::max_element(row_looks_.begin(), row_looks_.end()));

  const auto cells = as_size(shape.rows * shape.width);
  const auto keys = as_size(shape.prefix + shape.suffix + shape.width);
  const auto looks = as_size(shape.rows * shape.looks);
  const std::size_t row = as_size(dims_.hidden) * size_of(dims_.activations);
  const std::size_t fresh =
      as_size(2 * dims_.layers * dims_.kv_heads * dims_.head_dim) * size_of(dims_.activations);
  make_room(embedded_, cells * row);
  make_room(cos_, cells * as_size(dims_.head_dim) * sizeof(float));
  make_room(sin_, cells * as_size(dims_.head_dim) * sizeof(float));
  make_room(bias_, cells * keys * sizeof(float));
  make_room(logit_positions_, looks * sizeof(std::int64_t));
  make_room(fresh_, cells * fresh);
  make_room(hidden_, looks * row);
  make_room(logits_, looks * as_size(head_width(step.head)) * sizeof(float));

  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    const Run& run = step.runs[i];
    const Place place = packing_.places[i];
    for (std::int64_t k = 0; k < run.count; ++k) {
      const std::int64_t cell = place.row * shape.width + place.column + k;
      embed(cell, step.feeds[as_size(run.first + k)]);
      write_position(cell, shape.prefix + run.slot + k);
    }
  }
  write_bias(step, shape);

  row_looks_.assign(as_size(shape.rows), 0);
  look_cells_.clear();
  auto* positions = logit_positions_.as<std::int64_t>();
  std::fill_n(positions, looks, 0);
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    const Run& run = step.runs[i];
    const Place place = packing_.places[i];
    for (std::int64_t k = run.count - run.looks; k < run.count; ++k) {
      const std::int64_t cell = place.row * shape.looks + row_looks_[as_size(place.row)]++;
      positions[cell] = place.column + k;
      look_cells_.push_back(cell);
    }
  }

  if (step.alphabets.size() != look_cells_.size()) {
    internal_error(
        "host backend",
        message(step.alphabets.size(), " alphabets for ", look_cells_.size(), " looks")
    );
  }

  run_decoder(shape, false);
  append(step, shape);
  if (!look_cells_.empty()) {
    run_head(step.head, shape.rows * shape.looks);
    choose(step);
  }
  interrupted_ = false;
}

void HostBackend::write_bias(const Step& step, const Shape& shape) {
  const std::int64_t keys = shape.prefix + shape.suffix + shape.width;
  float* bias = bias_.as<float>();
  std::fill_n(bias, shape.rows * shape.width * keys, kMasked);
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    const Run& run = step.runs[i];
    const Place place = packing_.places[i];
    for (std::int64_t k = 0; k < run.count; ++k) {
      float* row = bias + (place.row * shape.width + place.column + k) * keys;
      std::fill_n(row, shape.prefix, 0.0F);
      if (shape.suffix > 0) std::fill_n(row + shape.prefix, cache_.length(run.question), 0.0F);
      std::fill_n(row + shape.prefix + shape.suffix + place.column, k + 1, 0.0F);
    }
  }
}

void HostBackend::run_decoder(const Shape& shape, bool to_prefix) {
  auto found = decoder_bindings_.find(shape);
  if (found == decoder_bindings_.end()) {
    if (decoder_bindings_.size() >= kMostBindings) forget_bindings();
    const DataType type = dims_.activations;
    const std::size_t plane =
        as_size(dims_.kv_heads * shape.rows * shape.width * dims_.head_dim) * size_of(type);
    std::vector<TensorView> inputs = {
        {"embeddings", type, {shape.rows, shape.width, dims_.hidden}, embedded_.data()},
        {"cos", DataType::float32, {shape.rows, shape.width, dims_.head_dim}, cos_.data()},
        {"sin", DataType::float32, {shape.rows, shape.width, dims_.head_dim}, sin_.data()},
        {"bias",
         DataType::float32,
         {shape.rows, shape.width, shape.prefix + shape.suffix + shape.width},
         bias_.data()},
        {"logit_positions", DataType::int64, {shape.rows, shape.looks}, logit_positions_.data()}
    };
    std::vector<TensorView> outputs;
    for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
      for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
        const std::string name =
            (which == KeyOrValue::key ? "key." : "value.") + std::to_string(layer);
        inputs.push_back(
            {"prefix_" + name,
             type,
             {dims_.kv_heads, 1, shape.prefix, dims_.head_dim},
             cache_.prefix(layer, which)}
        );
        inputs.push_back(
            {"suffix_" + name,
             type,
             {dims_.kv_heads, shape.rows, shape.suffix, dims_.head_dim},
             cache_.suffix(layer, which)}
        );
        const auto index = as_size(2 * layer + static_cast<std::int64_t>(which));
        // The prefix pass writes the prefix cache itself.
        outputs.push_back(
            {name,
             type,
             {dims_.kv_heads, shape.rows, shape.width, dims_.head_dim},
             to_prefix ? cache_.prefix(layer, which) : fresh_.data() + index * plane}
        );
      }
    }
    outputs.push_back({"hidden", type, {shape.rows, shape.looks, dims_.hidden}, hidden_.data()});
    found = decoder_bindings_.emplace(shape, graphs_->bind("llm_decoder", inputs, outputs)).first;
  }
  run_timed(found->second);
}

void HostBackend::append(const Step& step, const Shape& shape) {
  const std::size_t plane = as_size(dims_.kv_heads * shape.rows * shape.width * dims_.head_dim) *
                            size_of(dims_.activations);
  for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const auto index = as_size(2 * layer + static_cast<std::int64_t>(which));
      const KvCache::Fresh fresh{fresh_.data() + index * plane, shape.rows, shape.width};
      for (std::size_t i = 0; i < step.runs.size(); ++i) {
        const Run& run = step.runs[i];
        const Place place = packing_.places[i];
        cache_.write(
            layer, which, fresh, place.row, place.column, run.count, run.question, run.slot
        );
      }
    }
  }
  for (const Run& run : step.runs) cache_.set_length(run.question, run.slot + run.count);
}

std::int64_t HostBackend::head_width(Head head) const noexcept {
  return head == Head::full ? dims_.vocabulary : answer_width_;
}

void HostBackend::run_head(Head head, std::int64_t rows) {
  const HeadShape shape{static_cast<std::int64_t>(head), rows};
  auto found = head_bindings_.find(shape);
  if (found == head_bindings_.end()) {
    if (head_bindings_.size() >= kMostBindings) forget_bindings();
    const TensorView input{"hidden", dims_.activations, {rows, dims_.hidden}, hidden_.data()};
    const TensorView output{"logits", DataType::float32, {rows, head_width(head)}, logits_.data()};
    const char* graph = head == Head::full ? "lm_head" : "answer_head";
    found = head_bindings_.emplace(shape, graphs_->bind(graph, {&input, 1}, {&output, 1})).first;
  }
  run_timed(found->second);
}

void HostBackend::choose(const Step& step) {
  const std::int64_t width = head_width(step.head);
  for (std::size_t look = 0; look < look_cells_.size(); ++look) {
    const std::span<const float> logits(
        logits_.as<float>() + look_cells_[look] * width, as_size(width)
    );
    const auto alphabet = static_cast<std::size_t>(step.alphabets[look]);
    choices_.push_back(
        step.head == Head::full ? choose_from_all(logits, alphabets_[alphabet])
                                : choose_among(logits, columns_[alphabet], alphabets_[alphabet])
    );
  }
}

void HostBackend::run_timed(std::int64_t handle) {
  const auto start = std::chrono::steady_clock::now();
  graphs_->run(handle);
  graph_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void HostBackend::truncate(std::int64_t question, std::int64_t length) {
  cache_.truncate(question, length);
}

}  // namespace edgepose
