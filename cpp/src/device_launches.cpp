// SPDX-License-Identifier: Apache-2.0
// The part of DeviceBackend that runs passes: from plans to kernels, graphs and captures.
#include "edgepose/device_backend.hpp"

#include <exception>

namespace edgepose {

// A graph has to run once before it can be captured: libraries settle things at the first run of a
// shape.
void DeviceBackend::run(const PassKey& key) {
  if (graphs_.crowded()) release();
  graphs_.bind(key.pass, {prefix_.data(), suffix_.data()}, key.head, key.looks);
  Seen& seen = seen_[key];
  ++seen.times;
  if (options_.capture && seen.times > 1 && seen.capture < 0 && !seen.eager) {
    device_->begin_capture();
    try {
      enqueue(key);
      seen.capture = device_->end_capture();
    } catch (const std::exception&) {
      device_->abort_capture();  // what is really wrong shows without a capture, too
    }
    seen.eager = seen.capture < 0;
  }
  device_->mark(marks_++);
  if (seen.capture >= 0) {
    device_->replay(seen.capture);
  } else {
    enqueue(key);
  }
  device_->mark(marks_++);
  graphs_.tell(key.pass);
}

void DeviceBackend::enqueue(const PassKey& key) {
  enqueue_inputs(key);
  graphs_.run_decoder(key.pass);
  if (key.pass.writes_prefix) return;
  AppendKernel append;
  append.cells = plan_.as<PlanCell>();
  append.cell_count = key.pass.cells();
  append.planes = 2 * dims_.layers;
  append.heads = dims_.kv_heads;
  append.row_bytes = dims_.head_dim * static_cast<std::int64_t>(size_of(dims_.activations));
  append.fresh = graphs_.fresh();
  append.suffix = suffix_.data();
  append.fresh_plane = static_cast<std::int64_t>(graphs_.cache_plane(key.pass.cells()));
  append.suffix_plane =
      static_cast<std::int64_t>(graphs_.cache_plane(extent_.questions * key.capacity));
  append.questions = extent_.questions;
  append.capacity = key.capacity;
  device_->launch(append);
  if (key.looks) enqueue_choice(key);
}

void DeviceBackend::enqueue_inputs(const PassKey& key) {
  const DevicePass& pass = key.pass;
  const auto* cells = plan_.as<PlanCell>();
  GatherKernel gather;
  gather.cells = cells;
  gather.cell_count = pass.cells();
  gather.row_bytes = dims_.hidden * static_cast<std::int64_t>(size_of(dims_.activations));
  gather.table = embeddings_.data();
  gather.vocabulary = static_cast<std::int32_t>(dims_.vocabulary);
  gather.image = image_rows(pass, 0);
  gather.choices = choices_.as<Choice>();
  gather.target = graphs_.embedded();
  if (key.history_slots > 0) {
    gather.history = history_.as<std::int32_t>();
    gather.history_slots = key.history_slots;
  }
  device_->launch(gather);
  for (std::int64_t layer = 0; pass.writes_prefix && layer < dims_.deepstack; ++layer) {
    GatherKernel features = gather;
    features.table = nullptr;
    features.history = nullptr;
    features.image = image_rows(pass, 1 + layer);
    features.target = graphs_.deepstack(pass, layer);
    device_->launch(features);
  }
  RotateKernel rotate;
  rotate.cells = cells;
  rotate.cell_count = pass.cells();
  rotate.head_dim = dims_.head_dim;
  rotate.cos_table = rope_table_.as<float>();
  rotate.sin_table = rotate.cos_table + rope_positions_ * dims_.head_dim;
  rotate.axis = axes_.as<std::int32_t>();
  rotate.cos = graphs_.cos();
  rotate.sin = graphs_.sin();
  device_->launch(rotate);
  MaskKernel mask;
  mask.cells = cells;
  mask.rows = pass.rows;
  mask.width = pass.width;
  mask.prefix = pass.prefix;
  mask.suffix = pass.suffix;
  mask.sees_prefix = !pass.writes_prefix;
  mask.bias = graphs_.bias();
  device_->launch(mask);
  WantKernel want;
  want.columns = reinterpret_cast<std::int32_t*>(plan_.data() + places_.columns);
  want.looks = pass.rows * pass.looks;
  want.logit_positions = graphs_.logit_positions();
  device_->launch(want);
}

void DeviceBackend::enqueue_choice(const PassKey& key) {
  graphs_.run_head(key.pass, key.head);
  const auto* looks = reinterpret_cast<PlanLook*>(plan_.data() + places_.looks);
  const std::int64_t count = key.pass.rows * key.pass.looks;
  const std::int64_t width = graphs_.head_width(key.head);
  const bool full = key.head == Head::full;
  if (key.history_slots > 0) {
    PenaliseKernel penalise;
    penalise.looks = looks;
    penalise.look_count = count;
    penalise.numbers = reinterpret_cast<PlanNumbers*>(plan_.data() + places_.numbers);
    penalise.prefix_said = prefix_said_.as<std::uint32_t>();
    penalise.history = history_.as<std::int32_t>();
    penalise.slots = key.history_slots;
    penalise.tokens = full ? nullptr : head_tokens_.as<std::int32_t>();
    penalise.columns = full ? nullptr : head_columns_.as<std::int32_t>();
    penalise.width = width;
    penalise.logits = graphs_.logits();
    device_->launch(penalise);
  }
  ChooseKernel choose;
  choose.looks = looks;
  choose.look_count = count;
  choose.banned = reinterpret_cast<std::int32_t*>(plan_.data() + places_.banned);
  choose.offsets = offsets_.as<std::int32_t>();
  choose.tokens = tokens_.as<std::int32_t>();
  choose.columns = full ? nullptr : columns_.as<std::int32_t>();
  choose.logits = graphs_.logits();
  choose.width = width;
  choose.choices = choices_.as<Choice>();
  device_->launch(choose);
}

}  // namespace edgepose
