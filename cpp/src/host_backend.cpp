// SPDX-License-Identifier: Apache-2.0
#include "edgepose/host_backend.hpp"

#include "edgepose/error.hpp"
#include "edgepose/prompt_checks.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace edgepose {

// Note [masked slots]
// A pass reads whole buffers: every slot of every suffix, padding included. What may not be seen
// gets kMaskedScore added to its score, which leaves exactly 0 after the softmax in float32. So
// masked slots need not be erased, but they must hold finite numbers, which `Buffer` provides by
// starting from zeros.

namespace {

// Slots that a suffix starts with where more may be needed. All are read in every pass, so a long
// budget is not laid out before it is used.
constexpr std::int64_t kFirstSlots = 128;

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
    : dims_(dims),
      embeddings_(embeddings),
      alphabets_(std::move(alphabets)),
      graphs_(graphs, dims, std::ssize(answer_head)),
      cache_({dims.layers, dims.kv_heads, dims.head_dim, dims.activations}),
      rope_(dims.head_dim, dims.rope_theta, dims.rope_sections),
      history_(dims.vocabulary) {
  EDGEPOSE_CHECK(!alphabets_.empty(), BundleError, "[codec] at least one alphabet; got none");
  for (const Alphabet& alphabet : alphabets_) {
    EDGEPOSE_CHECK(
        !alphabet.tokens.empty(), BundleError, "[codec] at least one token an alphabet; got none"
    );
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

void HostBackend::begin(const Extent& extent) {
  extent_ = extent;
  const std::int64_t slots = std::min(extent.suffix, kFirstSlots);
  if (cache_.reset(extent.prefix, extent.questions, slots)) graphs_.release();
  rope_.reserve(extent.prefix + slots);
  rows_.reset(extent.questions);
  history_.begin(extent.penalty, extent.questions);
  if (interrupted_) {
    cache_.erase();
    graphs_.erase();
    interrupted_ = false;
  }
  choices_.clear();
  seconds_before_ = graphs_.seconds();
}

std::int32_t HostBackend::token_of(Feed feed) const {
  std::int32_t token = feed;
  if (is_choice(feed)) {
    const auto look = as_size(look_of(feed));
    if (look >= choices_.size()) {
      internal_error("host backend", message("look ", look, " of ", choices_.size()));
    }
    token = choices_[look].token;
  }
  expect_token(token, dims_);
  return token;
}

void HostBackend::embed(std::int64_t cell, std::int32_t token) {
  const std::size_t bytes = as_size(dims_.hidden) * size_of(dims_.activations);
  std::memcpy(graphs_.embedding(cell), embeddings_ + as_size(token) * bytes, bytes);
}

// Image rows take their features, text takes zeros.
void HostBackend::write_deepstack(const Prefix& prefix, const PassShape& shape) {
  const std::size_t bytes = as_size(dims_.hidden) * size_of(dims_.activations);
  for (std::int64_t layer = 0; layer < dims_.deepstack; ++layer) {
    std::byte* target = graphs_.deepstack(shape, layer);
    const std::byte* image = prefix.deepstack.empty() ? nullptr : prefix.deepstack[as_size(layer)];
    for (const std::int32_t token : prefix.tokens) {
      if (token == kImageToken) {
        std::memcpy(target, image, bytes);
        image += bytes;
      } else {
        std::memset(target, 0, bytes);
      }
      target += bytes;
    }
  }
}

void HostBackend::feed_prefix(const Prefix& prefix) {
  expect_image(prefix, dims_);
  next_position_ = place_tokens(prefix.tokens, prefix.grid, positions_);
  if (history_.active()) history_.set_prefix(prefix.tokens);
  interrupted_ = true;
  PassShape shape;
  shape.width = std::ssize(prefix.tokens);
  graphs_.make_room(shape, Head::answer);
  const std::size_t bytes = as_size(dims_.hidden) * size_of(dims_.activations);
  const std::byte* image = prefix.image;
  for (std::int64_t cell = 0; cell < shape.width; ++cell) {
    const std::int32_t token = prefix.tokens[as_size(cell)];
    if (token == kImageToken) {
      std::memcpy(graphs_.embedding(cell), image, bytes);
      image += bytes;
    } else {
      embed(cell, token_of(token));
    }
    rope_.write(positions_[as_size(cell)], graphs_.cos(cell), graphs_.sin(cell));
    float* bias = graphs_.bias() + cell * shape.width;
    std::fill_n(bias, cell + 1, 0.0F);
    std::fill(bias + cell + 1, bias + shape.width, kMaskedScore);
  }
  write_deepstack(prefix, shape);
  // Nobody asks for a token here; the graph wants one position all the same.
  *graphs_.logit_positions() = shape.width - 1;
  graphs_.run_decoder(shape, cache_);
  interrupted_ = false;
}

// Checks that the runs continue the cache and have their looks, and makes room for them in it.
void HostBackend::admit(const Step& step) {
  expect_looks(step, "host backend");
  std::int64_t slots = 0;
  for (const Run& run : step.runs) {
    const std::int64_t length = cache_.length(rows_.of(run.question));
    if (run.slot != length) {
      internal_error("host backend", message("slot ", run.slot, " fed, ", length, " in the cache"));
    }
    slots = std::max<std::int64_t>(slots, run.slot + run.count);
  }
  if (slots > cache_.capacity()) {
    std::int64_t capacity = std::max<std::int64_t>(1, cache_.capacity());
    while (capacity < slots) capacity *= 2;
    capacity = std::min(capacity, extent_.suffix);
    if (cache_.grow(capacity)) graphs_.release();
    rope_.reserve(next_position_ + capacity);
  }
  for (const Run& run : step.runs) {
    cache_.expect_room(rows_.of(run.question), run.slot + run.count);
  }
}

// Where each run goes, and the shape of the pass.
PassShape HostBackend::lay_out(const Step& step) {
  lengths_.clear();
  bool behind_others = false;  // does any suffix hold tokens already?
  for (const Run& run : step.runs) {
    lengths_.push_back(run.count);
    behind_others |= run.slot > 0;
  }
  PassShape shape;
  shape.prefix = cache_.prefix_length();
  if (behind_others) {
    // Every question in the cache has a row, fed or not.
    lengths_.assign(as_size(cache_.questions()), 1);
    for (const Run& run : step.runs) lengths_[as_size(rows_.of(run.question))] = run.count;
    pack_padded(lengths_, packing_);
    for (std::size_t i = 0; i < step.runs.size(); ++i) {
      packing_.places[i] = {rows_.of(step.runs[i].question), 0};
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
  return shape;
}

void HostBackend::feed(const Step& step) {
  if (step.runs.empty()) return;
  // A pass behind other tokens computes a row for each question in the cache.
  if (const auto kept = rows_.close_up(); !kept.empty()) cache_.keep(kept);
  admit(step);
  interrupted_ = true;
  const PassShape shape = lay_out(step);
  graphs_.make_room(shape, step.head);
  write_inputs(step, shape);
  write_bias(step, shape);
  graphs_.run_decoder(shape, cache_);
  append(step, shape);
  if (!look_cells_.empty()) {
    graphs_.run_head(shape, step.head);
    choose(step);
  }
  interrupted_ = false;
}

void HostBackend::write_inputs(const Step& step, const PassShape& shape) {
  row_looks_.assign(as_size(shape.rows), 0);
  look_cells_.clear();
  std::int64_t* wanted = graphs_.logit_positions();
  std::fill_n(wanted, shape.rows * shape.looks, 0);
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    const Run& run = step.runs[i];
    const Place place = packing_.places[i];
    for (std::int64_t k = 0; k < run.count; ++k) {
      const std::int64_t cell = place.row * shape.width + place.column + k;
      const std::int32_t token = token_of(step.feeds[as_size(run.first + k)]);
      embed(cell, token);
      if (history_.active()) history_.set(run.question, run.slot + k, token);
      const std::int64_t at = next_position_ + run.slot + k;
      rope_.write({at, at, at}, graphs_.cos(cell), graphs_.sin(cell));
    }
    for (std::int32_t k = 0; k < run.looks; ++k) {
      const std::int64_t cell = place.row * shape.looks + row_looks_[as_size(place.row)]++;
      wanted[cell] = place.column + step.looks[look_cells_.size()].at;
      look_cells_.push_back(cell);
    }
  }
}

void HostBackend::write_bias(const Step& step, const PassShape& shape) {
  const std::int64_t keys = shape.keys();
  float* bias = graphs_.bias();
  std::fill_n(bias, shape.cells() * keys, kMaskedScore);
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    const Run& run = step.runs[i];
    const Place place = packing_.places[i];
    for (std::int64_t k = 0; k < run.count; ++k) {
      float* row = bias + (place.row * shape.width + place.column + k) * keys;
      std::fill_n(row, shape.prefix, 0.0F);
      if (shape.suffix > 0) std::fill_n(row + shape.prefix, run.slot, 0.0F);
      std::fill_n(row + shape.prefix + shape.suffix + place.column, k + 1, 0.0F);
    }
  }
}

void HostBackend::append(const Step& step, const PassShape& shape) {
  for (std::int64_t layer = 0; layer < dims_.layers; ++layer) {
    for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
      const KvCache::Fresh fresh = graphs_.fresh(shape, layer, which);
      for (std::size_t i = 0; i < step.runs.size(); ++i) {
        const Run& run = step.runs[i];
        const Place place = packing_.places[i];
        const std::int64_t row = rows_.of(run.question);
        cache_.write(layer, which, fresh, place.row, place.column, run.count, row, run.slot);
      }
    }
  }
  for (const Run& run : step.runs) cache_.set_length(rows_.of(run.question), run.slot + run.count);
}

void HostBackend::choose(const Step& step) {
  std::size_t look = 0;
  for (const Run& run : step.runs) {
    for (std::int32_t k = 0; k < run.looks; ++k, ++look) {
      choices_.push_back(choose(step, step.looks[look], run, look_cells_[look]));
    }
  }
}

Choice HostBackend::choose(const Step& step, const Look& look, const Run& run, std::int64_t cell) {
  const std::int64_t seen = run.slot + look.at + 1;  // of the question's tokens, by this look
  const std::span<float> logits = graphs_.logits(cell, step.head);
  const Alphabet& alphabet = alphabets_[as_size(look.alphabet)];
  const bool penalised = look.penalised && history_.active();
  if (step.head == Head::full) {
    if (penalised) history_.penalise(run.question, seen, logits);
    return choose_from_all(logits, alphabet, alphabets_.front());
  }
  const auto& columns = columns_[as_size(look.alphabet)];
  if (penalised) history_.penalise(run.question, seen, logits, alphabet.tokens, columns);
  for (const std::int32_t token :
       std::span(step.banned).subspan(as_size(look.first_banned), as_size(look.banned))) {
    const auto found = std::find(alphabet.tokens.begin(), alphabet.tokens.end(), token);
    if (found == alphabet.tokens.end()) continue;
    const auto column = columns[as_size(found - alphabet.tokens.begin())];
    logits[as_size(column)] = -std::numeric_limits<float>::infinity();
  }
  return choose_among(logits, columns, alphabet);
}

void HostBackend::truncate(std::int64_t question, std::int64_t length) {
  cache_.truncate(rows_.of(question), length);
  history_.truncate(question, length);
}

}  // namespace edgepose
