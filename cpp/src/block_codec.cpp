// SPDX-License-Identifier: Apache-2.0
#include "edgepose/block_codec.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace edgepose {

namespace {

constexpr std::int32_t kBins = 0;  // the first alphabet
constexpr std::size_t kBoxNumbers = 4;

std::size_t as_size(std::int32_t value) noexcept { return static_cast<std::size_t>(value); }
std::size_t index_of(Block block) noexcept { return static_cast<std::size_t>(block); }
std::size_t numbers_of(Block block) noexcept { return block == Block::kpt2d ? 2 : 3; }

std::vector<const BlockLayout::Separator*> separators_of(const BlockLayout& layout) {
  return {
      &layout.after_box_start,
      &layout.between_box_numbers,
      &layout.before_box_end,
      &layout.after_start,
      &layout.after_name,
      &layout.between_numbers,
      &layout.between_joints,
      &layout.before_end,
      &layout.between_blocks,
      &layout.after_blocks
  };
}

// Slots one behind the other.
class Writer {
 public:
  explicit Writer(const std::unordered_map<std::int32_t, std::int32_t>& forced)
      : forced_(&forced) {}

  void force(std::int32_t token) { slots.push_back({.alphabet = forced_->at(token)}); }
  void force(std::span<const std::int32_t> tokens) {
    for (const std::int32_t token : tokens) force(token);
  }
  void numbers(std::size_t count, const BlockLayout::Separator& between) {
    for (std::size_t k = 0; k < count; ++k) {
      if (k > 0) force(between);
      slots.push_back({.alphabet = kBins, .number = true});
    }
  }
  std::int32_t here() const noexcept { return static_cast<std::int32_t>(slots.size()); }

  std::vector<Slot> slots;

 private:
  const std::unordered_map<std::int32_t, std::int32_t>* forced_;
};

// A whole answer, but for its keypoints: `keypoints(block)` writes them and the end of their block.
template <typename Keypoints>
void write_answer(
    Writer& writer, const BlockTokens& tokens, const BlockLayout& layout, Keypoints keypoints
) {
  for (const Block block : layout.blocks) {
    if (block != layout.blocks.front()) writer.force(layout.between_blocks);
    writer.force(tokens.starts[index_of(block)]);
    if (block != Block::box) {
      writer.force(layout.after_start);
      keypoints(block);
      continue;
    }
    writer.force(layout.after_box_start);
    writer.numbers(kBoxNumbers, layout.between_box_numbers);
    writer.force(layout.before_box_end);
    writer.force(tokens.ends[index_of(block)]);
  }
  writer.force(layout.after_blocks);
  writer.force(tokens.end);
}

}  // namespace

BlockCodec::BlockCodec(const BlockTokens& tokens, BlockLayout layout)
    : bins_(0, 1, tokens.bins), layout_(std::move(layout)), tokens_(tokens) {
  give_meanings();
  build_free();
}

void BlockCodec::give_meanings() {
  const auto add = [&](std::int32_t token, Kind kind, std::int32_t index) {
    EDGEPOSE_CHECK(
        meanings_.emplace(token, Meaning{kind, index}).second && token != tokens_.end,
        BundleError,
        "[block codec] a token of its own for each bin, joint, marker and the end; got token ",
        token,
        " twice"
    );
  };
  std::int32_t index = 0;
  for (const std::int32_t token : tokens_.bins) add(token, Kind::bin, index++);
  index = 0;
  for (const std::int32_t token : tokens_.joints) add(token, Kind::joint, index++);
  for (const Block block : {Block::box, Block::kpt2d, Block::kpt3d}) {
    add(tokens_.starts[index_of(block)], Kind::start, static_cast<std::int32_t>(block));
    add(tokens_.ends[index_of(block)], Kind::end, static_cast<std::int32_t>(block));
  }
  EDGEPOSE_CHECK(
      !tokens_.joints.empty(), BundleError, "[block codec] at least one joint; got none"
  );
  for (const auto* separator : separators_of(layout_)) {
    for (const std::int32_t token : *separator) {
      EDGEPOSE_CHECK(
          !meanings_.contains(token) && token != tokens_.end,
          BundleError,
          "[block codec] separators that are no bin, joint, marker or end; got token ",
          token
      );
    }
  }
  std::vector<Block> sorted = layout_.blocks;
  std::sort(sorted.begin(), sorted.end());
  EDGEPOSE_CHECK(
      !sorted.empty() && std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
      BundleError,
      "[block codec] at least one block and none twice; got ",
      sorted.size(),
      " blocks"
  );
}

// Note [where items branch]
// Behind an item comes either `between_joints` and a joint, or `before_end` and the end marker. The
// tokens that both have in common are forced, and the first in which they differ is the branch: a
// joint or a closing token, or one token of each separator. Before the first item there is no
// `between_joints`, so the branch stands at once. Both ways of closing share the slots behind.
void BlockCodec::build_free() {
  std::vector<Alphabet> alphabets = {bins_.bins()};
  const auto alphabet_of = [&](std::vector<std::int32_t> set) {
    const Alphabet wanted{std::move(set)};
    const auto found = std::find(alphabets.begin(), alphabets.end(), wanted);
    const auto index = static_cast<std::int32_t>(found - alphabets.begin());
    if (found == alphabets.end()) alphabets.push_back(wanted);
    return index;
  };
  const auto know = [&](std::int32_t token) { forced_.emplace(token, alphabet_of({token})); };
  for (const std::int32_t token : tokens_.joints) know(token);
  for (const std::int32_t token : tokens_.starts) know(token);
  for (const std::int32_t token : tokens_.ends) know(token);
  for (const auto* separator : separators_of(layout_)) {
    for (const std::int32_t token : *separator) know(token);
  }
  know(tokens_.end);

  Writer writer(forced_);
  bool echoes = false;  // the first block of keypoints chooses
  write_answer(writer, tokens_, layout_, [&](Block block) {
    std::vector<std::int32_t> close = layout_.before_end;
    close.push_back(tokens_.ends[index_of(block)]);
    const auto& between = layout_.between_joints;
    const auto shared =
        std::mismatch(between.begin(), between.end(), close.begin(), close.end()).first -
        between.begin();
    const auto open_or = [&](std::int32_t closing) {
      std::vector<std::int32_t> set = tokens_.joints;
      set.push_back(closing);
      return alphabet_of(std::move(set));
    };
    // `closed` is counted from the slots behind the closing token until these have their place.
    std::vector<std::int32_t> closings;
    const auto turn = [&](Turn kind, std::int32_t alphabet, std::int32_t next, auto depth) {
      closings.push_back(writer.here());
      writer.slots.push_back(
          {.alphabet = alphabet,
           .turn = kind,
           .echoes = echoes,
           .next = next,
           .closed = static_cast<std::int32_t>(depth)}
      );
    };
    const std::int32_t first = writer.here();
    turn(Turn::opens_or_closes, open_or(close[0]), -1, 0);
    const std::int32_t item = writer.here();
    writer.force(layout_.after_name);
    writer.numbers(numbers_of(block), layout_.between_numbers);
    const auto rest = std::span(between).subspan(static_cast<std::size_t>(shared));
    const std::int32_t closing = close[static_cast<std::size_t>(shared)];
    if (between.empty()) {
      writer.slots.back().next = first;
    } else {
      writer.force(std::span(between).first(static_cast<std::size_t>(shared)));
      if (rest.empty()) {
        turn(Turn::opens_or_closes, open_or(closing), item, shared);
      } else {
        turn(Turn::goes_on_or_closes, alphabet_of({rest[0], closing}), -1, shared);
        writer.force(rest.subspan(1));
        writer.slots.push_back(
            {.alphabet = alphabet_of(tokens_.joints),
             .turn = Turn::opens,
             .echoes = echoes,
             .next = item}
        );
      }
    }
    const std::int32_t behind = writer.here();
    for (const std::int32_t slot : closings) {
      writer.slots[as_size(slot)].closed += behind;
    }
    writer.force(std::span(close).subspan(1));
    echoes = true;
  });
  free_.emplace(
      std::make_shared<const std::vector<Alphabet>>(std::move(alphabets)), std::move(writer.slots)
  );
}

Form BlockCodec::asked(std::span<const std::int32_t> joints) const {
  EDGEPOSE_CHECK(!joints.empty(), InvalidInput, "[block codec] at least one joint; got none");
  std::vector<bool> named(tokens_.joints.size());
  for (const std::int32_t joint : joints) {
    EDGEPOSE_CHECK(
        joint >= 0 && as_size(joint) < named.size() && !named[as_size(joint)],
        InvalidInput,
        "[block codec] different joints from 0 to ",
        named.size() - 1,
        "; got ",
        joint,
        joint >= 0 && as_size(joint) < named.size() ? " twice" : ""
    );
    named[as_size(joint)] = true;
  }
  Writer writer(forced_);
  write_answer(writer, tokens_, layout_, [&](Block block) {
    for (const std::int32_t joint : joints) {
      if (joint != joints.front()) writer.force(layout_.between_joints);
      writer.force(tokens_.joints[as_size(joint)]);
      writer.force(layout_.after_name);
      writer.numbers(numbers_of(block), layout_.between_numbers);
    }
    writer.force(layout_.before_end);
    writer.force(tokens_.ends[index_of(block)]);
  });
  return {free_->shared_alphabets(), std::move(writer.slots)};
}

BlockAnswer BlockCodec::read(const Answer& answer) const {
  struct Reading {
    std::vector<Number> xy;
    std::vector<Number> xyz;
    double log_probability = 0;
  };
  // One entry: the numbers of a box or of one joint in one block.
  struct Entry {
    std::int32_t joint = -1;  // -1: the box
    std::vector<Number> numbers = {};
    double log_probability = 0;
  };
  BlockAnswer result;
  std::unordered_map<std::int32_t, Reading> readings;
  std::vector<std::int32_t> mentioned;
  std::array<bool, 3> begun{};
  bool inside = false;
  Block block = Block::box;
  std::optional<Entry> entry;

  for (const Choice& choice : answer.choices) {
    const auto found = meanings_.find(choice.token);
    if (found == meanings_.end()) continue;
    const auto [kind, index] = found->second;
    if (kind == Kind::start) {
      block = static_cast<Block>(index);
      inside = !std::exchange(begun[index_of(block)], true);
      entry.reset();
      if (inside && block == Block::box) entry = Entry{};
    } else if (kind == Kind::end) {
      inside = false;
      entry.reset();
    } else if (kind == Kind::joint) {
      entry.reset();
      if (inside && block != Block::box) entry = Entry{.joint = index};
    } else if (entry) {
      entry->numbers.push_back(bins_.read_bin(index, choice));
      entry->log_probability += std::log(choice.probability);
      const std::size_t whole = block == Block::box ? kBoxNumbers : numbers_of(block);
      if (entry->numbers.size() < whole) continue;
      if (block == Block::box) {
        result.box = std::move(entry->numbers);
      } else {
        const auto [reading, is_new] = readings.try_emplace(entry->joint);
        if (is_new) mentioned.push_back(entry->joint);
        auto& numbers = block == Block::kpt2d ? reading->second.xy : reading->second.xyz;
        if (numbers.empty()) {
          numbers = std::move(entry->numbers);
          reading->second.log_probability += entry->log_probability;
        }
      }
      entry.reset();
    }
  }
  for (const std::int32_t joint : mentioned) {
    Reading& reading = readings.at(joint);
    const auto count = static_cast<double>(reading.xy.size() + reading.xyz.size());
    result.points.push_back(
        {joint,
         std::move(reading.xy),
         std::move(reading.xyz),
         std::exp(reading.log_probability / count)}
    );
  }
  return result;
}

}  // namespace edgepose
