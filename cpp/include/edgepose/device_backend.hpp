// SPDX-License-Identifier: Apache-2.0
// What this is: the backend whose caches, logits and choices lie in the memory of a device. The host
// lays out a pass, sends its plan ahead and goes on; it waits in `choices` and nowhere else.
// Contract: `graphs`, the device and the embedding table outlive it. A shape runs as it is at first,
// is captured the second time and replayed from then on. Each question keeps its row until the next
// questions come, and a row without one is padding, so that shapes do not change when one retires.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/decoder_dims.hpp"
#include "edgepose/device.hpp"
#include "edgepose/device_graphs.hpp"
#include "edgepose/device_plan.hpp"
#include "edgepose/rope.hpp"
#include "edgepose/staging.hpp"
#include "edgepose/token_history.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace edgepose {

struct DeviceOptions {
  std::int64_t least_slots = 0;     // of a cache segment: 1 where graphs take none of length 0
  std::int64_t most_slots = 0;      // of the suffix segment; 0: as many as there is memory for
  std::int64_t most_questions = 0;  // that the graphs take at once; 0: any number
  bool capture = true;
};

class DeviceBackend final : public Backend {
 public:
  // Arguments as HostBackend's; `embeddings` is host memory and copied.
  DeviceBackend(
      Device& device,
      Graphs& graphs,
      const DecoderDims& dims,
      const std::byte* embeddings,
      std::vector<Alphabet> alphabets,
      std::span<const std::int32_t> answer_head,
      const DeviceOptions& options
  );
  ~DeviceBackend() override;

  const std::vector<Alphabet>& alphabets() const noexcept override { return alphabets_; }
  std::int64_t most_questions() const noexcept override;
  void begin(const Extent& extent) override;
  void feed_prefix(const Prefix& prefix) override;
  void next_questions() override;
  void feed(const Step& step) override;
  std::span<const Choice> choices() override;
  void truncate(std::int64_t question, std::int64_t length) override;
  void retire(std::int64_t) override {}
  double graph_seconds() const noexcept override;
  std::span<const double> pass_seconds() const noexcept override { return seconds_; }

  // Shapes that have been captured and may still be replayed.
  std::int64_t captures() const noexcept;

 private:
  // What a captured pass depends on beside what its plan says.
  struct PassKey {
    DevicePass pass;
    Head head = Head::answer;
    bool looks = false;
    std::int64_t capacity = 0;       // slots of a suffix, which a pass that starts them fills
    std::int64_t history_slots = 0;  // 0 where none is held
    std::strong_ordering operator<=>(const PassKey&) const = default;
  };
  struct Seen {
    std::int64_t times = 0;
    std::int64_t capture = -1;
    bool eager = false;  // it cannot be captured
  };
  // Places in the plan of a pass, bytes.
  struct PlanPlaces {
    std::size_t looks = 0, columns = 0, numbers = 0, banned = 0, end = 0;
  };

  void send_alphabets(std::span<const std::int32_t> answer_head);
  // Copies host memory to a buffer, which grows where it must.
  void send(DeviceBuffer& to, const void* from, std::size_t bytes);
  void settle();
  void release();
  void make_room(const DevicePass& pass, Head head);
  void start_cleanly();
  void reserve(DeviceBuffer& buffer, std::size_t bytes);
  void reserve_rope(std::int64_t positions);
  void reserve_choices(std::int64_t count);
  void grow(std::int64_t slots);
  std::int64_t slots_for(std::int64_t slots) const;
  void send_images(const Prefix& prefix, std::int64_t rows);
  void admit(const Step& step);
  DevicePass lay_out(const Step& step) const;
  PlanPlaces places_of(const DevicePass& pass, std::size_t banned) const;
  std::byte* new_plan(const DevicePass& pass, std::span<const std::int32_t> banned);
  void send_plan(const std::byte* plan);
  void plan_prefix(const Prefix& prefix, const DevicePass& pass);
  void plan_step(const Step& step, const DevicePass& pass);
  Feed checked(Feed feed) const;
  void expect_columns(std::int32_t alphabet) const;
  void run(const PassKey& key);
  void enqueue(const PassKey& key);
  void enqueue_inputs(const PassKey& key);
  void enqueue_choice(const PassKey& key);
  bool holds_history() const noexcept { return extent_.penalty.factor != 1; }
  PassKey key_of(const DevicePass& pass, Head head, bool looks) const noexcept;
  const std::byte* image_rows(const DevicePass& pass, std::int64_t level);

  Device* device_;
  DecoderDims dims_;
  DeviceOptions options_;
  std::vector<Alphabet> alphabets_;
  DeviceGraphs graphs_;
  Rope rope_;
  TokenHistory penalty_check_;
  std::int64_t answer_width_;

  // Written once.
  DeviceBuffer embeddings_;    // (vocabulary, hidden) activations
  DeviceBuffer offsets_;       // (alphabets + 1) int32, into the two below
  DeviceBuffer tokens_;        // int32, of all alphabets
  DeviceBuffer columns_;       // int32, of these tokens in the answer head
  DeviceBuffer head_tokens_;   // (answer width) int32
  DeviceBuffer head_columns_;  // (vocabulary) int32, -1 for none
  DeviceBuffer axes_;          // (head_dim) int32

  DeviceBuffer rope_table_;   // (2, positions, head_dim) float32
  DeviceBuffer prefix_;       // see DeviceCaches
  DeviceBuffer suffix_;       //
  DeviceBuffer images_;       // (1 + deepstack, image rows, hidden) activations
  DeviceBuffer prefix_said_;  // (vocabulary / 32) bits
  DeviceBuffer history_;      // (questions, history slots) int32
  DeviceBuffer plan_;         // cells, looks, columns, numbers, banned tokens
  DeviceBuffer choices_;      // Choice, by look since `begin`
  Staging staging_;

  Extent extent_;
  std::vector<std::int64_t> lengths_;  // of the suffixes
  std::int64_t capacity_ = 0;          // slots of a suffix
  std::int64_t most_held_ = 0;         // that a suffix has had so far: shapes need not change twice
  std::int64_t rope_positions_ = 0;
  std::int64_t history_slots_ = 0;
  std::int64_t next_position_ = 0;  // of a suffix's first token
  std::vector<Position> positions_;
  std::int64_t looks_ = 0;     // since `begin`
  std::vector<Choice> known_;  // those that were read
  PlanPlaces places_;
  std::map<PassKey, Seen> seen_;
  std::int64_t marks_ = 0;
  std::vector<double> seconds_;  // of each pass, the kernels around the graphs included
  bool under_way_ = false;       // something was asked for since the last wait
  bool unclean_ = false;         // memory may hold what is not finite
};

}  // namespace edgepose
