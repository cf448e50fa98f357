// SPDX-License-Identifier: Apache-2.0
// The part of DeviceBackend that lays out passes: from steps to plans.
#include "edgepose/device_backend.hpp"
#include "edgepose/error.hpp"
#include "edgepose/prompt_checks.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace edgepose {

namespace {

std::size_t as_size(std::int64_t value) noexcept { return static_cast<std::size_t>(value); }

std::size_t aligned(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }

template <typename T>
T* fill(std::byte* memory, std::int64_t count, const T& value) {
  T* first = reinterpret_cast<T*>(memory);
  std::uninitialized_fill_n(first, count, value);
  return first;
}

}  // namespace

DeviceBackend::PlanPlaces DeviceBackend::places_of(const DevicePass& pass, std::size_t banned)
    const {
  PlanPlaces places;
  const std::int64_t looks = pass.rows * pass.looks;
  places.looks = aligned(as_size(pass.cells()) * sizeof(PlanCell));
  places.columns = aligned(places.looks + as_size(looks) * sizeof(PlanLook));
  places.numbers = aligned(places.columns + as_size(looks) * sizeof(std::int32_t));
  places.banned = aligned(places.numbers + sizeof(PlanNumbers));
  places.end = places.banned + banned * sizeof(std::int32_t);
  return places;
}

// A plan that feeds nothing and looks nowhere.
std::byte* DeviceBackend::new_plan(const DevicePass& pass, std::span<const std::int32_t> banned) {
  places_ = places_of(pass, banned.size());
  std::byte* plan = staging_.piece(places_.end);
  fill(plan, pass.cells(), PlanCell());
  fill(plan + places_.looks, pass.rows * pass.looks, PlanLook());
  fill(plan + places_.columns, pass.rows * pass.looks, std::int32_t{0});
  fill(plan + places_.numbers, 1, PlanNumbers{.penalty = extent_.penalty.factor});
  if (!banned.empty()) std::memcpy(plan + places_.banned, banned.data(), banned.size_bytes());
  return plan;
}

void DeviceBackend::send_plan(const std::byte* plan) {
  if (places_.end > plan_.capacity()) reserve(plan_, 2 * places_.end);
  device_->upload(plan_.data(), plan, places_.end);
  under_way_ = true;
}

Feed DeviceBackend::checked(Feed feed) const {
  if (is_choice(feed)) {
    if (look_of(feed) >= looks_) {
      internal_error("device backend", message("look ", look_of(feed), " of ", looks_));
    }
    return feed;
  }
  expect_token(feed, dims_);
  return feed;
}

// Each kind of image feature has room for as many rows as the prefix has tokens, so that places
// depend on the shape alone.
const std::byte* DeviceBackend::image_rows(const DevicePass& pass, std::int64_t level) {
  return images_.data() + as_size(level * pass.width * dims_.hidden) * size_of(dims_.activations);
}

void DeviceBackend::send_images(const Prefix& prefix, std::int64_t rows) {
  const std::size_t row = as_size(dims_.hidden) * size_of(dims_.activations);
  const std::size_t plane = prefix.tokens.size() * row;
  reserve(images_, as_size(1 + dims_.deepstack) * plane);
  if (rows == 0) return;
  std::byte* to = images_.data();
  const auto send_one = [&](const std::byte* from) {
    const std::size_t bytes = as_size(rows) * row;
    if (prefix.on_device) {
      device_->copy(to, from, bytes);
    } else {
      std::byte* piece = staging_.piece(bytes);
      std::memcpy(piece, from, bytes);
      device_->upload(to, piece, bytes);
    }
    to += plane;
  };
  send_one(prefix.image);
  for (const std::byte* features : prefix.deepstack) send_one(features);
}

void DeviceBackend::feed_prefix(const Prefix& prefix) {
  expect_image(prefix, dims_);
  for (const std::int32_t token : prefix.tokens) {
    if (token != kImageToken) checked(token);
  }
  next_position_ = place_tokens(prefix.tokens, prefix.grid, positions_);
  DevicePass pass;
  pass.width = std::ssize(prefix.tokens);
  pass.prefix = pass.suffix = options_.least_slots;
  pass.writes_prefix = pass.starts = true;
  make_room(pass, Head::answer);
  if (holds_history()) {
    std::vector<std::uint32_t> said(as_size((dims_.vocabulary + 31) / 32), 0);
    for (const std::int32_t token : prefix.tokens) {
      const std::int32_t id = token == kImageToken ? extent_.penalty.image_token : token;
      if (id >= 0) said[as_size(id / 32)] |= 1U << (id % 32);
    }
    send(prefix_said_, said.data(), said.size() * sizeof(std::uint32_t));
  }
  send_images(prefix, std::count(prefix.tokens.begin(), prefix.tokens.end(), kImageToken));
  plan_prefix(prefix, pass);
  // Nobody asks for a token here; the graph wants one position all the same.
  run({.pass = pass});
}

void DeviceBackend::plan_prefix(const Prefix& prefix, const DevicePass& pass) {
  std::byte* plan = new_plan(pass, {});
  auto* cell = reinterpret_cast<PlanCell*>(plan);
  std::int32_t image = 0;
  for (std::size_t k = 0; k < prefix.tokens.size(); ++k, ++cell) {
    const std::int32_t token = prefix.tokens[k];
    if (token == kImageToken) {
      cell->image = image++;
    } else {
      cell->feed = token;
    }
    const Position& position = positions_[k];
    cell->time = static_cast<std::int32_t>(position.time);
    cell->row = static_cast<std::int32_t>(position.row);
    cell->column = static_cast<std::int32_t>(position.column);
    cell->real = 1;
  }
  *reinterpret_cast<std::int32_t*>(plan + places_.columns) =
      static_cast<std::int32_t>(pass.width - 1);
  send_plan(plan);
}

// Checks that the runs continue the caches and have their looks, and makes room for them.
void DeviceBackend::admit(const Step& step) {
  expect_looks(step, "device backend");
  for (const Look& look : step.looks) {
    if (step.head == Head::answer) expect_columns(look.alphabet);
  }
  std::int64_t slots = 0;
  for (const Run& run : step.runs) {
    const std::int64_t held = lengths_.at(as_size(run.question));
    if (run.slot != held) {
      internal_error("device backend", message("slot ", run.slot, " fed, ", held, " in the cache"));
    }
    slots = std::max<std::int64_t>(slots, run.slot + run.count);
    for (std::int32_t k = 0; k < run.count; ++k) checked(step.feeds[as_size(run.first + k)]);
  }
  const std::int64_t most =
      options_.most_slots > 0 ? std::min(extent_.suffix, options_.most_slots) : extent_.suffix;
  EDGEPOSE_CHECK(
      slots <= most,
      DecodeError,
      "[kv cache] at most ",
      most,
      " tokens of a question and its answer",
      most < extent_.suffix ? ", for which the engines were built" : "",
      "; got ",
      slots,
      most < extent_.suffix ? "; build them for longer ones" : "; announce a larger extent"
  );
  if (slots > capacity_) grow(slots);
}

void DeviceBackend::expect_columns(std::int32_t alphabet) const {
  if (alphabets_.at(as_size(alphabet)).tokens.size() == 1) {
    internal_error("device backend", "a look for a forced token");
  }
}

DevicePass DeviceBackend::lay_out(const Step& step) const {
  DevicePass pass;
  pass.rows = extent_.questions;
  pass.prefix = extent_.prefix;
  pass.starts = true;
  for (const Run& run : step.runs) {
    pass.width = std::max<std::int64_t>(pass.width, run.count);
    pass.looks = std::max<std::int64_t>(pass.looks, run.looks);
    if (run.slot > 0) pass.starts = false;
  }
  pass.suffix = pass.starts ? options_.least_slots : capacity_;
  return pass;
}

DeviceBackend::PassKey DeviceBackend::key_of(const DevicePass& pass, Head head, bool looks)
    const noexcept {
  return {pass, head, looks, capacity_, holds_history() ? history_slots_ : 0};
}

void DeviceBackend::feed(const Step& step) {
  if (step.runs.empty()) return;
  admit(step);
  const DevicePass pass = lay_out(step);
  make_room(pass, step.head);
  reserve_choices(looks_ + std::ssize(step.looks));
  plan_step(step, pass);
  run(key_of(pass, step.head, !step.looks.empty()));
  looks_ += std::ssize(step.looks);
  for (const Run& run : step.runs) lengths_[as_size(run.question)] = run.slot + run.count;
}

void DeviceBackend::plan_step(const Step& step, const DevicePass& pass) {
  std::byte* plan = new_plan(pass, step.banned);
  auto* cells = reinterpret_cast<PlanCell*>(plan);
  auto* looks = reinterpret_cast<PlanLook*>(plan + places_.looks);
  auto* columns = reinterpret_cast<std::int32_t*>(plan + places_.columns);
  std::size_t number = 0;
  for (const Run& run : step.runs) {
    PlanCell* cell = cells + run.question * pass.width;
    for (std::int32_t k = 0; k < run.count; ++k, ++cell) {
      cell->feed = step.feeds[as_size(run.first + k)];
      cell->time = static_cast<std::int32_t>(next_position_ + run.slot + k);
      cell->row = cell->column = cell->time;
      cell->visible = run.slot;
      cell->question = run.question;
      cell->slot = run.slot + k;
      cell->real = 1;
    }
    for (std::int32_t k = 0; k < run.looks; ++k, ++number) {
      const Look& look = step.looks[number];
      const std::int64_t place = run.question * pass.looks + k;
      columns[place] = look.at;
      PlanLook& planned = looks[place];
      planned.alphabet = look.alphabet;
      planned.choice = static_cast<std::int32_t>(looks_ + static_cast<std::int64_t>(number));
      planned.question = run.question;
      if (look.penalised && holds_history()) planned.seen = run.slot + look.at + 1;
      planned.first_banned = look.first_banned;
      planned.banned = look.banned;
    }
  }
  send_plan(plan);
}

}  // namespace edgepose
