// SPDX-License-Identifier: Apache-2.0
// What this is: what the decoder loop asks of whatever holds the caches and runs the graphs.
// Contract: `feed` may return before the work is done and a fed token may be one that was not yet
// chosen (see Feed), so a backend can keep caches, logits and choices on a device and run a whole
// answer of known form without a host synchronisation; only `choices` waits. One thread at a time.
#pragma once

#include "edgepose/error.hpp"
#include "edgepose/logits.hpp"
#include "edgepose/positions.hpp"
#include "edgepose/token_history.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace edgepose {

// Which output layer the looked-at positions go through.
enum class Head : std::uint8_t {
  answer,  // only the tokens of the answer's alphabets
  full,    // the whole vocabulary
};

// A token to feed: an id, or the outcome of an earlier look, written `chosen(k)`.
using Feed = std::int32_t;
constexpr Feed chosen(std::int64_t look) noexcept { return static_cast<Feed>(-1 - look); }
constexpr bool is_choice(Feed feed) noexcept { return feed < 0; }
constexpr std::int64_t look_of(Feed feed) noexcept { return -1 - static_cast<std::int64_t>(feed); }

// Consecutive tokens of one question, `looks` of which are looked at.
struct Run {
  std::int32_t question = 0;  // from 0 on, below Extent::questions
  std::int32_t slot = 0;      // place of the first token behind the prefix
  std::int32_t first = 0;     // tokens are Step::feeds[first, first + count)
  std::int32_t count = 0;
  std::int32_t looks = 0;
};

// Where and how to choose. With the full head nothing is banned, and a token that is chosen outside
// `alphabet` is measured in alphabet 0.
struct Look {
  std::int32_t at = 0;            // behind this token of the run, counted from its first; ascending
  std::int32_t alphabet = 0;      // among which tokens to choose (or to measure)
  bool penalised = false;         // for repetition, see Extent::penalty
  std::int32_t first_banned = 0;  // tokens not to choose are Step::banned[first_banned,
  std::int32_t banned = 0;        // first_banned + banned)
};

// One pass of the decoder. Looks are numbered in order of the runs, through all steps since
// `begin`.
struct Step {
  Head head = Head::answer;
  std::vector<Run> runs;  // at most one a question
  std::vector<Feed> feeds;
  std::vector<Look> looks;
  std::vector<std::int32_t> banned;

  void clear() noexcept {
    runs.clear();
    feeds.clear();
    looks.clear();
    banned.clear();
  }
};

// What one `begin` announces.
struct Extent {
  std::int64_t prefix = 0;     // tokens of the shared prefix
  std::int64_t questions = 0;  // at once, see Backend::most_questions
  std::int64_t suffix = 0;     // most tokens of one question, its answer included
  Penalty penalty = {};
};

// The shared part of a prompt.
struct Prefix {
  std::span<const std::int32_t> tokens;  // kImageToken for an image row
  // Rows of (hidden) in the activation type, one for each kImageToken of `tokens`, in order.
  const std::byte* image = nullptr;
  // Where positions have three axes: how the image rows lie.
  std::optional<ImageGrid> grid = {};
  // Rows as many as `image` has, to be added behind decoder layers 0, 1, 2, ...
  std::span<const std::byte* const> deepstack = {};
  // The image rows lie in the memory of the backend's device, written by what it did before.
  bool on_device = false;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // What a step's looks may refer to, by index; alphabet 0 has the numbers.
  virtual const std::vector<Alphabet>& alphabets() const noexcept = 0;

  // How many questions `begin` takes. Where there are more, some wait until others are answered.
  virtual std::int64_t most_questions() const noexcept {
    return std::numeric_limits<std::int64_t>::max();
  }

  // Forgets the last prompt and makes room for the next.
  virtual void begin(const Extent& extent) = 0;

  // Runs the shared prefix once.
  virtual void feed_prefix(const Prefix& prefix) = 0;

  // Forgets the questions but not the prefix: as many others, or fewer, are fed in their places.
  // What is counted since `begin` goes on. For backends that do not take all questions at once.
  virtual void next_questions() {
    internal_error("backend", "more questions behind a prefix than were announced");
  }

  // Feeds tokens behind the prefix and looks at some of them.
  virtual void feed(const Step& step) = 0;

  // Every choice since `begin`, once they are known.
  virtual std::span<const Choice> choices() = 0;

  // Forgets the tokens of `question` from slot `length` on.
  virtual void truncate(std::int64_t question, std::int64_t length) = 0;

  // `question` is not fed again before the next questions come, so that nothing need be kept of it.
  virtual void retire(std::int64_t question) = 0;

  // Seconds spent inside the graphs since `begin`.
  virtual double graph_seconds() const noexcept = 0;

  // Of each pass since `begin`, where the time at which a call returns does not tell; those that
  // `choices` has waited for.
  virtual std::span<const double> pass_seconds() const noexcept { return {}; }
};

}  // namespace edgepose
