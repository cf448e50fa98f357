// SPDX-License-Identifier: Apache-2.0
// What this is: what the tests of a backend feed it with.
#pragma once

#include "edgepose/backend.hpp"
#include "edgepose/graphs.hpp"
#include "fake_world.hpp"
#include "reference_decoder.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace edgepose::testing {

// Graphs that answer zeros and allocate nothing.
class StillGraphs final : public Graphs {
 public:
  std::int64_t
  bind(const std::string&, std::span<const TensorView> inputs, std::span<const TensorView>)
      override {
    for (const TensorView& input : inputs) {
      if (input.name == "suffix_key.0" && input.shape[2] > 0) ++decode_binds;
    }
    return binds++;
  }
  void run(std::int64_t) override { ++runs; }
  void release() override { ++releases; }

  std::int64_t binds = 0;
  std::int64_t decode_binds = 0;  // of passes behind other tokens
  std::int64_t runs = 0;
  std::int64_t releases = 0;
};

inline Extent extent_of(const Asked& asked, std::int64_t suffix) {
  return {
      static_cast<std::int64_t>(asked.prefix.size()),
      static_cast<std::int64_t>(asked.questions.size()),
      suffix
  };
}

inline void begin(FakeWorld& world, const Asked& asked, std::int64_t suffix = 40) {
  world.backend.begin(extent_of(asked, suffix));
  world.backend.feed_prefix({asked.prefix, asked.image.empty() ? nullptr : asked.image.data()});
}

inline void add_run(
    Step& step, std::int32_t question, std::int32_t slot, const std::vector<Feed>& feeds, int looks
) {
  step.runs.push_back(
      {.question = question,
       .slot = slot,
       .first = static_cast<std::int32_t>(step.feeds.size()),
       .count = static_cast<std::int32_t>(feeds.size()),
       .looks = looks}
  );
  step.feeds.insert(step.feeds.end(), feeds.begin(), feeds.end());
  for (int k = looks; k > 0; --k) {
    step.looks.push_back({.at = static_cast<std::int32_t>(feeds.size()) - k});
  }
}

inline std::int32_t best_digit(const FakeWorld& world, const std::vector<Code>& codes) {
  return best_of(world.model.logits(codes), world.codec.alphabets()[0].tokens);
}

}  // namespace edgepose::testing
