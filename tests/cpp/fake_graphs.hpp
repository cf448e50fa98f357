// SPDX-License-Identifier: Apache-2.0
// What this is: graphs that run a FakeModel and see through every mistake of who calls them.
// Contract: an embedding holds its token's code, a key or value its token's code, position, layer,
// head and kind. Attention collects the (position, code) pairs that the bias leaves visible in the
// three segments; they must be positions 0 to the query's own, once each and the same in all heads.
// All numbers are whole and below 2048, so exact in float16 too. Broken promises throw
// std::logic_error. A NaN in a key makes NaN of everything in its row, seen or masked.
#pragma once

#include "edgepose/graphs.hpp"
#include "edgepose/host_backend.hpp"
#include "fake_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace edgepose::testing {

// A whole number below 2048 as float16 bits.
inline std::uint16_t half_of(std::int32_t number) {
  if (number == 0) return 0;
  int exponent = 0;
  while ((number >> (exponent + 1)) != 0) ++exponent;
  const auto mantissa = static_cast<std::uint32_t>(number - (1 << exponent)) << (10 - exponent);
  return static_cast<std::uint16_t>((static_cast<std::uint32_t>(exponent + 15) << 10) | mantissa);
}

// -1 for what is not a whole number from 0 to 2047.
inline std::int32_t number_of(std::uint16_t half) {
  if (half == 0) return 0;
  const int exponent = (half >> 10) - 15;
  if (exponent < 0 || exponent > 10) return -1;
  const int mantissa = (half & 0x3FF) | 0x400;
  const int number = mantissa >> (10 - exponent);
  return (number << (10 - exponent)) == mantissa ? number : -1;
}

// One element of activations, at `index` elements behind `data`.
inline void store(DataType type, void* data, std::int64_t index, std::int32_t number) {
  if (type == DataType::float16) {
    static_cast<std::uint16_t*>(data)[index] = half_of(number);
  } else {
    static_cast<float*>(data)[index] = static_cast<float>(number);
  }
}

inline std::int32_t load(DataType type, const void* data, std::int64_t index) {
  if (type == DataType::float16) return number_of(static_cast<const std::uint16_t*>(data)[index]);
  const float number = static_cast<const float*>(data)[index];
  return number >= 0 && number < 2048 && number == std::floor(number)
             ? static_cast<std::int32_t>(number)
             : -1;
}

inline bool is_finite(DataType type, const void* data, std::int64_t index) {
  if (type == DataType::float16) {
    return (static_cast<const std::uint16_t*>(data)[index] & 0x7C00) != 0x7C00;
  }
  return std::isfinite(static_cast<const float*>(data)[index]);
}

inline void store_nan(DataType type, void* data, std::int64_t index) {
  if (type == DataType::float16) {
    static_cast<std::uint16_t*>(data)[index] = 0x7E00;
  } else {
    static_cast<float*>(data)[index] = std::numeric_limits<float>::quiet_NaN();
  }
}

// What element `k` of the embedding of `code` holds.
inline std::int32_t embedding_element(Code code, std::int64_t k) {
  return static_cast<std::int32_t>((code * (k + 1)) % 2048);
}

// Shape of one llm_decoder pass.
struct SeenPass {
  std::int64_t rows = 0, width = 0, prefix = 0, suffix = 0, looks = 0;
  bool operator==(const SeenPass&) const = default;
};

class FakeGraphs final : public Graphs {
 public:
  static constexpr std::int64_t kHidden = 6;
  static constexpr std::int64_t kHeadDim = 4;

  FakeGraphs(FakeModel model, const DecoderDims& dims, std::vector<std::int32_t> answer_head)
      : model_(std::move(model)), dims_(dims), answer_head_(std::move(answer_head)) {}

  std::int64_t bind(
      const std::string& graph,
      std::span<const TensorView> inputs,
      std::span<const TensorView> outputs
  ) override {
    Bound bound;
    bound.graph = graph;
    for (const TensorView& view : inputs) bound.inputs.emplace(view.name, view);
    for (const TensorView& view : outputs) bound.outputs.emplace(view.name, view);
    expect(bound.inputs.size() == inputs.size(), "input names are unique");
    expect(bound.outputs.size() == outputs.size(), "output names are unique");
    bound_.emplace(next_handle_, std::move(bound));
    return next_handle_++;
  }

  void run(std::int64_t handle) override {
    const auto found = bound_.find(handle);
    expect(found != bound_.end(), "the handle is not void");
    if (found->second.graph == "llm_decoder") {
      run_decoder(found->second);
    } else if (found->second.graph == "lm_head") {
      run_head(found->second, nullptr);
    } else if (found->second.graph == "answer_head") {
      run_head(found->second, &answer_head_);
    } else {
      throw std::logic_error("fake graphs: no graph " + found->second.graph);
    }
  }

  void release() override {
    bound_.clear();
    ++releases;
  }

  std::size_t live_bindings() const { return bound_.size(); }

  FakeModel& model() { return model_; }

  // What happened.
  std::vector<SeenPass> passes;
  std::vector<std::string> heads;
  std::int32_t releases = 0;

  // What shall happen: the keys and values of this pass (an index into `passes`) are NaN.
  std::size_t overflows_at = std::numeric_limits<std::size_t>::max();

 private:
  struct Bound {
    std::string graph;
    std::map<std::string, TensorView> inputs;
    std::map<std::string, TensorView> outputs;
  };

  static void expect(bool holds, const char* promise, const std::string& name = {}) {
    if (!holds) throw std::logic_error("fake graphs: broken promise: " + (promise + name));
  }

  const TensorView& tensor(
      const std::map<std::string, TensorView>& tensors,
      const std::string& name,
      DataType type,
      const std::vector<std::int64_t>& shape
  ) const {
    const auto found = tensors.find(name);
    expect(found != tensors.end(), "there is a tensor ", name);
    expect(found->second.type == type, "type of ", name);
    expect(found->second.shape == shape, "shape of ", name);
    return found->second;
  }

  // Position of the row `cell`, told from its angles alone; -1 when they are those of no position.
  std::int64_t position_of(const float* cos, const float* sin, std::int64_t cell) const {
    const double slow = std::pow(dims_.rope_theta, -2.0 / kHeadDim);
    const float* c = cos + cell * kHeadDim;
    const float* s = sin + cell * kHeadDim;
    const std::int64_t position =
        std::lround(std::atan2(static_cast<double>(s[1]), static_cast<double>(c[1])) / slow);
    for (std::int64_t i = 0; i < kHeadDim; ++i) {
      const double angle = static_cast<double>(position) * (i % 2 == 0 ? 1.0 : slow);
      if (std::abs(static_cast<double>(c[i]) - std::cos(angle)) > 1e-5) return -1;
      if (std::abs(static_cast<double>(s[i]) - std::sin(angle)) > 1e-5) return -1;
    }
    return position;
  }

  void run_decoder(const Bound& bound) {
    const DataType type = dims_.activations;
    SeenPass pass;
    const auto& embeddings = bound.inputs.at("embeddings");
    pass.rows = embeddings.shape.at(0);
    pass.width = embeddings.shape.at(1);
    pass.prefix = bound.inputs.at("prefix_key.0").shape.at(2);
    pass.suffix = bound.inputs.at("suffix_key.0").shape.at(2);
    pass.looks = bound.inputs.at("logit_positions").shape.at(1);
    const std::int64_t rows = pass.rows;
    const std::int64_t width = pass.width;
    const std::int64_t keys = pass.prefix + pass.suffix + width;
    tensor(bound.inputs, "embeddings", type, {rows, width, kHidden});
    const auto* cos = static_cast<const float*>(
        tensor(bound.inputs, "cos", DataType::float32, {rows, width, kHeadDim}).data
    );
    const auto* sin = static_cast<const float*>(
        tensor(bound.inputs, "sin", DataType::float32, {rows, width, kHeadDim}).data
    );
    const auto* bias = static_cast<const float*>(
        tensor(bound.inputs, "bias", DataType::float32, {rows, width, keys}).data
    );
    const auto* wanted = static_cast<const std::int64_t*>(
        tensor(bound.inputs, "logit_positions", DataType::int64, {rows, pass.looks}).data
    );
    const auto& hidden = tensor(bound.outputs, "hidden", type, {rows, pass.looks, kHidden});
    expect(bound.inputs.size() == as_size(5 + 4 * dims_.layers), "no further inputs");
    expect(bound.outputs.size() == as_size(1 + 2 * dims_.layers), "no further outputs");
    const bool overflows = passes.size() == overflows_at;
    passes.push_back(pass);

    for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
      for (const std::int32_t kind : {0, 1}) {
        const std::string name = (kind == 0 ? "key." : "value.") + std::to_string(layer);
        const auto& fresh =
            tensor(bound.outputs, name, type, {dims_.kv_heads, rows, width, kHeadDim});
        for (std::int64_t head = 0; head < dims_.kv_heads; ++head) {
          for (std::int64_t cell = 0; cell < rows * width; ++cell) {
            const std::int64_t at = (head * rows * width + cell) * kHeadDim;
            const std::int32_t code = load(type, embeddings.data, cell * kHidden);
            const auto position = static_cast<std::int32_t>(position_of(cos, sin, cell));
            write_mark(fresh.data, at, code, position, tag_of(layer, head, kind));
            if (overflows || !is_finite(type, embeddings.data, cell * kHidden)) {
              store_nan(type, fresh.data, at);
            }
          }
        }
      }
    }

    std::vector<std::vector<Code>> seen;  // one a cell
    std::vector<bool> is_nan(as_size(rows * width), false);
    for (std::int64_t cell = 0; cell < rows * width; ++cell) {
      bool nan_seen = false;
      seen.push_back(attend(bound, pass, cell / width, cell % width, bias + cell * keys, nan_seen));
      is_nan[as_size(cell)] = nan_seen;
      if (!seen.back().empty() && !nan_seen) {
        expect(
            position_of(cos, sin, cell) == static_cast<std::int64_t>(seen.back().size()) - 1,
            "a query is the last of what it sees"
        );
      }
    }

    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t look = 0; look < pass.looks; ++look) {
        const std::int64_t column = wanted[row * pass.looks + look];
        expect(column >= 0 && column < width, "logit positions lie within the row");
        const std::int64_t cell = row * width + column;
        const auto& codes = seen[as_size(cell)];
        const std::uint64_t hash = codes.empty() ? 0 : hash_of(codes, codes.size()) >> 9;
        sequences_[hash] = codes;
        for (std::int64_t k = 0; k < kHidden; ++k) {
          const auto part = k < 5 ? static_cast<std::int32_t>((hash >> (11 * k)) & 2047) : 1;
          const std::int64_t at = (row * pass.looks + look) * kHidden + k;
          store(type, hidden.data, at, part);
          if (is_nan[as_size(cell)]) store_nan(type, hidden.data, at);
        }
      }
    }
  }

  static std::size_t as_size(std::int64_t value) { return static_cast<std::size_t>(value); }

  static std::int32_t tag_of(std::int64_t layer, std::int64_t head, std::int32_t kind) {
    return static_cast<std::int32_t>(1 + layer * 32 + head * 2 + kind);
  }

  static std::int32_t check_of(std::int32_t code, std::int32_t position, std::int32_t tag) {
    return (code * 7 + position * 13 + tag * 31) % 2048;
  }

  // Cells of padding have no code or no position; they get zeros, which nobody may see.
  void write_mark(
      void* data, std::int64_t at, std::int32_t code, std::int32_t position, std::int32_t tag
  ) const {
    const bool real = code >= 0 && position >= 0;
    const std::array<std::int32_t, 4> mark = {code, position, tag, check_of(code, position, tag)};
    for (std::size_t i = 0; i < mark.size(); ++i) {
      store(dims_.activations, data, at + static_cast<std::int64_t>(i), real ? mark[i] : 0);
    }
  }

  // Codes by position of what the query at (row, column) sees.
  std::vector<Code> attend(
      const Bound& bound,
      const SeenPass& pass,
      std::int64_t row,
      std::int64_t column,
      const float* bias,
      bool& is_nan
  ) const {
    const DataType type = dims_.activations;
    std::vector<Code> first;
    for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
      for (const std::int32_t kind : {0, 1}) {
        const std::string name = (kind == 0 ? "key." : "value.") + std::to_string(layer);
        const auto& prefix = tensor(
            bound.inputs, "prefix_" + name, type, {dims_.kv_heads, 1, pass.prefix, kHeadDim}
        );
        const auto& suffix = tensor(
            bound.inputs, "suffix_" + name, type, {dims_.kv_heads, pass.rows, pass.suffix, kHeadDim}
        );
        const auto& fresh = bound.outputs.at(name);
        for (std::int64_t head = 0; head < dims_.kv_heads; ++head) {
          std::vector<Code> codes;
          for (std::int64_t key = 0; key < pass.prefix + pass.suffix + pass.width; ++key) {
            const void* data = nullptr;
            std::int64_t at = 0;
            if (key < pass.prefix) {
              data = prefix.data;
              at = head * pass.prefix + key;
            } else if (key < pass.prefix + pass.suffix) {
              data = suffix.data;
              at = (head * pass.rows + row) * pass.suffix + key - pass.prefix;
            } else {
              data = fresh.data;
              at = (head * pass.rows + row) * pass.width + key - pass.prefix - pass.suffix;
            }
            at *= kHeadDim;
            const bool visible = bias[key] == 0.0F;
            expect(visible || bias[key] == -30000.0F, "the bias is 0 or -30000");
            // A NaN gets through any mask: 0 times NaN is NaN.
            is_nan |= !is_finite(type, data, at);
            if (!visible || is_nan) continue;
            const std::int32_t code = load(type, data, at);
            const std::int32_t position = load(type, data, at + 1);
            const std::int32_t tag = load(type, data, at + 2);
            expect(tag == tag_of(layer, head, kind), "keys are of this layer, head and kind");
            expect(load(type, data, at + 3) == check_of(code, position, tag), "keys are whole");
            if (as_size(position) >= codes.size()) codes.resize(as_size(position) + 1, -1);
            expect(codes[as_size(position)] == -1, "a position is seen once");
            codes[as_size(position)] = code;
          }
          if (is_nan) continue;
          expect(std::find(codes.begin(), codes.end(), -1) == codes.end(), "no position is missed");
          if (layer == 0 && kind == 0 && head == 0) first = codes;
          expect(codes == first, "all heads see the same");
        }
      }
    }
    if (!first.empty() && !is_nan) {
      const auto& embeddings = bound.inputs.at("embeddings");
      for (std::int64_t k = 0; k < kHidden; ++k) {
        const std::int64_t at = (row * pass.width + column) * kHidden + k;
        expect(
            load(type, embeddings.data, at) == embedding_element(first.back(), k),
            "embeddings are whole rows"
        );
      }
    }
    return first;
  }

  void run_head(const Bound& bound, const std::vector<std::int32_t>* columns) {
    const auto& given = bound.inputs.at("hidden");
    const std::int64_t rows = given.shape.at(0);
    const auto& hidden = tensor(bound.inputs, "hidden", dims_.activations, {rows, kHidden});
    const auto width =
        columns != nullptr ? static_cast<std::int64_t>(columns->size()) : dims_.vocabulary;
    auto* logits =
        static_cast<float*>(tensor(bound.outputs, "logits", DataType::float32, {rows, width}).data);
    heads.push_back(bound.graph);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::uint64_t hash = 0;
      bool finite = true;
      for (std::int64_t k = 0; k < 5; ++k) {
        finite = finite && is_finite(dims_.activations, hidden.data, row * kHidden + k);
        const auto part = load(dims_.activations, hidden.data, row * kHidden + k);
        hash |= static_cast<std::uint64_t>(finite ? part : 0) << (11 * k);
      }
      const auto found = sequences_.find(hash);
      const bool seen = found != sequences_.end() && !found->second.empty();
      const auto all =
          seen ? model_.logits(found->second) : std::vector<float>(as_size(dims_.vocabulary), 0.0F);
      for (std::int64_t k = 0; k < width; ++k) {
        const auto token = columns != nullptr ? as_size((*columns)[as_size(k)]) : as_size(k);
        logits[row * width + k] = finite ? all[token] : std::numeric_limits<float>::quiet_NaN();
      }
    }
  }

  FakeModel model_;
  DecoderDims dims_;
  std::vector<std::int32_t> answer_head_;
  std::map<std::int64_t, Bound> bound_;
  std::int64_t next_handle_ = 0;
  std::unordered_map<std::uint64_t, std::vector<Code>> sequences_;
};

}  // namespace edgepose::testing
