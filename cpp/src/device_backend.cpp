// SPDX-License-Identifier: Apache-2.0
#include "edgepose/device_backend.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <utility>

namespace edgepose {

namespace {

static_assert(std::is_trivially_copyable_v<Choice>);

// As in HostBackend: slots that a suffix starts with where more may be needed.
constexpr std::int64_t kFirstSlots = 128;
constexpr std::int64_t kSlotStep = 32;
constexpr std::int64_t kPositionStep = 256;

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace

DeviceBackend::DeviceBackend(
    Device& device,
    Graphs& graphs,
    const DecoderDims& dims,
    const std::byte* embeddings,
    std::vector<Alphabet> alphabets,
    std::span<const std::int32_t> answer_head,
    const DeviceOptions& options
)
    : device_(&device),
      dims_(dims),
      options_(options),
      alphabets_(std::move(alphabets)),
      graphs_(device, graphs, dims, std::ssize(answer_head)),
      rope_(dims.head_dim, dims.rope_theta, dims.rope_sections),
      penalty_check_(dims.vocabulary),
      answer_width_(std::ssize(answer_head)),
      embeddings_(device),
      offsets_(device),
      tokens_(device),
      columns_(device),
      head_tokens_(device),
      head_columns_(device),
      axes_(device),
      rope_table_(device),
      prefix_(device),
      suffix_(device),
      images_(device),
      prefix_said_(device),
      history_(device),
      plan_(device),
      choices_(device),
      staging_(device) {
  send_alphabets(answer_head);
  const std::vector<std::int32_t> axes = rope_.axes();
  send(axes_, axes.data(), axes.size() * sizeof(std::int32_t));
  send(embeddings_, embeddings, as_size(dims.vocabulary * dims.hidden) * size_of(dims.activations));
  device_->synchronise();
  staging_.clear();
}

DeviceBackend::~DeviceBackend() {
  try {
    settle();
  } catch (const std::exception&) {
    // What was under way is of no use any more.
  }
  for (const auto& [key, seen] : seen_) {
    if (seen.capture >= 0) device_->forget(seen.capture);
  }
}

void DeviceBackend::send_alphabets(std::span<const std::int32_t> answer_head) {
  EDGEPOSE_CHECK(!alphabets_.empty(), BundleError, "[codec] at least one alphabet; got none");
  std::vector<std::int32_t> column_of(as_size(dims_.vocabulary), -1);
  for (std::size_t column = answer_head.size(); column-- > 0;) {
    const std::int32_t token = answer_head[column];
    if (token >= 0 && token < dims_.vocabulary) {
      column_of[as_size(token)] = static_cast<std::int32_t>(column);
    }
  }
  std::vector<std::int32_t> offsets = {0};
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> columns;
  for (const Alphabet& alphabet : alphabets_) {
    EDGEPOSE_CHECK(
        !alphabet.tokens.empty(), BundleError, "[codec] at least one token an alphabet; got none"
    );
    for (const std::int32_t token : alphabet.tokens) {
      EDGEPOSE_CHECK(
          token >= 0 && token < dims_.vocabulary,
          BundleError,
          "[codec] token ids in [0, ",
          dims_.vocabulary,
          "); got ",
          token,
          "; export the bundle again"
      );
      // Forced tokens need no column: the answer head is not asked.
      EDGEPOSE_CHECK(
          alphabet.tokens.size() == 1 || column_of[as_size(token)] >= 0,
          BundleError,
          "[answer head] a column for every token that may be chosen; token ",
          token,
          " has none; export the bundle again"
      );
      tokens.push_back(token);
      columns.push_back(column_of[as_size(token)]);
    }
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  const auto send_all = [this](DeviceBuffer& buffer, std::span<const std::int32_t> numbers) {
    send(buffer, numbers.data(), numbers.size_bytes());
  };
  send_all(offsets_, offsets);
  send_all(tokens_, tokens);
  send_all(columns_, columns);
  send_all(head_tokens_, answer_head);
  send_all(head_columns_, column_of);
}

void DeviceBackend::send(DeviceBuffer& to, const void* from, std::size_t bytes) {
  reserve(to, bytes);
  if (bytes == 0) return;
  std::byte* piece = staging_.piece(bytes);
  std::memcpy(piece, from, bytes);
  device_->upload(to.data(), piece, bytes);
  under_way_ = true;
}

// Waits before memory moves or bindings go that work under way may still need. Shapes that were met
// before do not come here.
void DeviceBackend::settle() {
  if (under_way_) device_->synchronise();
}

void DeviceBackend::release() {
  settle();
  for (const auto& [key, seen] : seen_) {
    if (seen.capture >= 0) device_->forget(seen.capture);
  }
  seen_.clear();
  graphs_.release();
}

void DeviceBackend::reserve(DeviceBuffer& buffer, std::size_t bytes) {
  if (buffer.holds(bytes)) return;
  release();
  buffer.reserve(bytes);
}

std::int64_t DeviceBackend::captures() const noexcept {
  return std::count_if(seen_.begin(), seen_.end(), [](const auto& entry) {
    return entry.second.capture >= 0;
  });
}

// Slots to lay out for so many tokens, in few different numbers; no more than the graphs take.
std::int64_t DeviceBackend::slots_for(std::int64_t slots) const {
  const std::int64_t rounded = round_up(slots, kSlotStep);
  return options_.most_slots > 0 ? std::min(rounded, options_.most_slots) : rounded;
}

void DeviceBackend::start_cleanly() {
  if (under_way_) {
    try {
      device_->synchronise();
    } catch (const std::exception&) {
      // It was said where it happened, or belongs to what the last prompt left undone.
    }
    under_way_ = false;
    unclean_ = true;
  }
  staging_.clear();
  if (!unclean_) return;
  prefix_.erase();
  suffix_.erase();
  graphs_.erase();
  unclean_ = false;
}

std::int64_t DeviceBackend::most_questions() const noexcept {
  return options_.most_questions > 0 ? options_.most_questions : Backend::most_questions();
}

void DeviceBackend::begin(const Extent& extent) {
  penalty_check_.begin(extent.penalty, 0);
  if (extent.questions > most_questions()) {
    internal_error(
        "device backend", message(extent.questions, " questions at once of ", most_questions())
    );
  }
  start_cleanly();
  extent_ = extent;
  lengths_.assign(as_size(extent.questions), 0);
  const std::int64_t slots = std::min(extent.suffix, std::max(kFirstSlots, most_held_));
  capacity_ = slots_for(slots);
  most_held_ = std::max(most_held_, capacity_);
  const std::size_t planes = as_size(2 * dims_.layers);
  reserve(prefix_, planes * graphs_.cache_plane(extent.prefix));
  reserve(suffix_, planes * graphs_.cache_plane(extent.questions * capacity_));
  reserve_rope(extent.prefix + capacity_);
  if (holds_history()) {
    history_slots_ = std::max(history_slots_, round_up(extent.suffix, kSlotStep));
    reserve(history_, as_size(extent.questions * history_slots_) * sizeof(std::int32_t));
  }
  looks_ = 0;
  known_.clear();
  reserve_choices(extent.questions * std::min<std::int64_t>(extent.suffix, 64));
  marks_ = 0;
  seconds_.clear();
}

// Passes are done in order, so a row is not written to before everybody has read it.
void DeviceBackend::next_questions() { lengths_.assign(lengths_.size(), 0); }

void DeviceBackend::reserve_rope(std::int64_t positions) {
  if (positions <= rope_positions_) return;
  rope_positions_ = round_up(positions, kPositionStep);
  rope_.reserve(rope_positions_);
  const std::span<const float> cos = rope_.cosines();
  const std::span<const float> sin = rope_.sines();
  reserve(rope_table_, cos.size_bytes() + sin.size_bytes());
  std::byte* piece = staging_.piece(cos.size_bytes() + sin.size_bytes());
  std::memcpy(piece, cos.data(), cos.size_bytes());
  std::memcpy(piece + cos.size_bytes(), sin.data(), sin.size_bytes());
  device_->upload(rope_table_.data(), piece, cos.size_bytes() + sin.size_bytes());
  under_way_ = true;
}

// Unlike `reserve`, keeps what was chosen.
void DeviceBackend::reserve_choices(std::int64_t count) {
  if (choices_.holds(as_size(count) * sizeof(Choice))) return;
  DeviceBuffer larger(*device_);
  larger.reserve(as_size(2 * count) * sizeof(Choice));
  if (looks_ > 0) device_->copy(larger.data(), choices_.data(), as_size(looks_) * sizeof(Choice));
  release();
  choices_.swap(larger);
}

// Makes room for so many tokens of a question and keeps those that are there.
void DeviceBackend::grow(std::int64_t slots) {
  std::int64_t capacity = std::max<std::int64_t>(1, capacity_);
  while (capacity < slots) capacity *= 2;
  capacity = slots_for(std::max(slots, std::min(capacity, extent_.suffix)));
  const auto token = as_size(dims_.head_dim) * size_of(dims_.activations);
  SpreadKernel spread;
  const auto plane = [this](std::int64_t slots_held) {
    return static_cast<std::int64_t>(graphs_.cache_plane(extent_.questions * slots_held));
  };
  spread.planes = 2 * dims_.layers;
  spread.rows = dims_.kv_heads * extent_.questions;
  spread.from_bytes = static_cast<std::int64_t>(as_size(capacity_) * token);
  spread.to_bytes = static_cast<std::int64_t>(as_size(capacity) * token);
  spread.from_plane = plane(capacity_);
  spread.to_plane = plane(capacity);
  DeviceBuffer larger(*device_);
  larger.reserve(as_size(spread.planes * spread.to_plane));
  spread.from = suffix_.data();
  spread.to = larger.data();
  device_->launch(spread);
  under_way_ = true;
  release();
  suffix_.swap(larger);
  capacity_ = capacity;
  most_held_ = std::max(most_held_, capacity);
  reserve_rope(next_position_ + capacity);
}

std::span<const Choice> DeviceBackend::choices() {
  if (!under_way_) return known_;
  const std::size_t before = known_.size();
  const std::size_t bytes = (as_size(looks_) - before) * sizeof(Choice);
  std::byte* piece = staging_.piece(bytes);
  if (bytes > 0) device_->download(piece, choices_.data() + before * sizeof(Choice), bytes);
  under_way_ = false;
  unclean_ = true;  // until it is known better
  device_->synchronise();
  known_.resize(as_size(looks_));
  if (bytes > 0) std::memcpy(known_.data() + before, piece, bytes);
  staging_.clear();
  for (std::int64_t mark = 0; mark + 1 < marks_; mark += 2) {
    seconds_.push_back(device_->seconds_between(mark, mark + 1));
  }
  marks_ = 0;
  for (std::size_t k = before; k < known_.size(); ++k) {
    EDGEPOSE_CHECK(
        std::isfinite(known_[k].probability) && std::isfinite(known_[k].share),
        BackendError,
        "[logits] finite numbers; got NaN or infinity; look for NaN in the image, or export with "
        "float32 activations"
    );
  }
  unclean_ = false;
  return known_;
}

void DeviceBackend::make_room(const DevicePass& pass, Head head) {
  if (graphs_.has_room(pass, head)) return;
  release();
  graphs_.make_room(pass, head);
}

double DeviceBackend::graph_seconds() const noexcept {
  return std::accumulate(seconds_.begin(), seconds_.end(), 0.0);
}

void DeviceBackend::truncate(std::int64_t question, std::int64_t length) {
  std::int64_t& held = lengths_.at(as_size(question));
  if (length < 0 || length > held) {
    internal_error("device backend", message("truncate to ", length, " of ", held));
  }
  held = length;
}

}  // namespace edgepose
