// SPDX-License-Identifier: Apache-2.0
// What this is: a person written in blocks: a box, keypoints in the image, keypoints in space, every
// number a bin token.
//   <box_start> x0 y0 x1 y1 <box_end>
//   <kpt2d_start> (name x y)* <kpt2d_end> <kpt3d_start> (name x y z)* <kpt3d_end> <end>
// Contract: numbers are shares of their range, bin k of n being k / (n - 1). Where separators stand
// between the tokens is data.
// Source: TAIHRI's answers, as its parser reads them.
#pragma once

#include "edgepose/answer.hpp"
#include "edgepose/bin_codec.hpp"
#include "edgepose/grammar.hpp"
#include "edgepose/number.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace edgepose {

enum class Block : std::uint8_t { box = 0, kpt2d = 1, kpt3d = 2 };

struct BlockTokens {
  std::vector<std::int32_t> bins;  // of bin 0, 1, 2, ...
  std::vector<std::int32_t> joints;
  std::array<std::int32_t, 3> starts{};  // by Block
  std::array<std::int32_t, 3> ends{};
  std::int32_t end = 0;  // of the answer
};

// Order of the blocks, and what stands between tokens: any number of tokens, mostly none.
struct BlockLayout {
  using Separator = std::vector<std::int32_t>;

  std::vector<Block> blocks;
  Separator after_box_start;  // behind the box's start marker
  Separator between_box_numbers;
  Separator before_box_end;
  Separator after_start;      // behind the start marker of a block of keypoints
  Separator after_name;       // between a joint and its first number
  Separator between_numbers;  // of a joint
  Separator between_joints;
  Separator before_end;  // before the end marker of a block of keypoints
  Separator between_blocks;
  Separator after_blocks;  // before the end of the answer
};

struct BlockPoint {
  std::int32_t joint = 0;   // index into BlockTokens::joints
  std::vector<Number> xy;   // 2, or 0 where the answer has none
  std::vector<Number> xyz;  // 3, or 0
  double probability = 0;   // geometric mean over its numbers' tokens
};

struct BlockAnswer {
  std::vector<Number> box;         // x0 y0 x1 y1, or none
  std::vector<BlockPoint> points;  // in the order they are first mentioned
};

class BlockCodec {
 public:
  // Throws BundleError unless every token has one meaning and no block comes twice.
  BlockCodec(const BlockTokens& tokens, BlockLayout layout);

  // What the forms are over; the first has the bins.
  const std::vector<Alphabet>& alphabets() const noexcept { return free_->alphabets(); }

  // Answers about these joints (indices, in this order): only bins are free. Throws InvalidInput
  // unless there is at least one joint, each known and named once.
  Form asked(std::span<const std::int32_t> joints) const;

  // Answers about the joints that the model names in the first block of keypoints; the second has
  // the same in the same order.
  const Form& free() const noexcept { return *free_; }

  // The numbers of any answer, of whatever form. Unknown tokens are passed over. The first block of
  // each kind counts, and in it the first numbers of each joint; a block without its end counts as
  // far as it goes; a box or joint that lacks numbers does not.
  BlockAnswer read(const Answer& answer) const;

 private:
  enum class Kind : std::uint8_t { bin, joint, start, end };
  struct Meaning {
    Kind kind;
    std::int32_t index;
  };

  void give_meanings();
  void build_free();

  BinCodec bins_;
  BlockLayout layout_;
  BlockTokens tokens_;
  std::unordered_map<std::int32_t, Meaning> meanings_;
  std::unordered_map<std::int32_t, std::int32_t> forced_;  // alphabet of one token
  std::optional<Form> free_;                               // there once the constructor has run
};

}  // namespace edgepose
