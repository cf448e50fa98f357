// SPDX-License-Identifier: Apache-2.0
// What this is: the choice of a token where the logits lie, with the statistics of logits.hpp.
// Contract: many lanes work at one look and merge what they found, in a tree; the group of lanes
// comes as an argument, so that the same body runs on the host and on the GPU. Where logits leave
// no distribution to choose from, the probability is NaN and the token that of the smallest index.
// Source: choose_among and choose_from_all in logits.hpp.
#pragma once

#include "edgepose/device_plan.hpp"
#include "edgepose/logits.hpp"
#include "edgepose/portable.hpp"

#include <cmath>
#include <cstdint>

namespace edgepose {

struct BestLogit {
  float logit = 0;
  std::int32_t index = -1;  // -1 for none
};

// The first of equal maxima.
EDGEPOSE_PORTABLE inline BestLogit better(const BestLogit& a, const BestLogit& b) noexcept {
  if (b.index < 0) return a;
  if (a.index < 0 || b.logit > a.logit) return b;
  return b.logit == a.logit && b.index < a.index ? b : a;
}

// Sums over indices, weighted by the exponentials of their logits.
struct Moments {
  double total = 0;
  double first = 0;
  double second = 0;
  double chosen = 0;  // the weight of the chosen token, 0 where it is not among them
};

EDGEPOSE_PORTABLE inline Moments sum_of(const Moments& a, const Moments& b) noexcept {
  return {a.total + b.total, a.first + b.first, a.second + b.second, a.chosen + b.chosen};
}

struct ChooseKernel {
  const PlanLook* looks = nullptr;
  std::int64_t look_count = 0;
  const std::int32_t* banned = nullptr;
  const std::int32_t* offsets = nullptr;  // (alphabets + 1) into the two below
  const std::int32_t* tokens = nullptr;   // of all alphabets, one behind the other
  const std::int32_t* columns = nullptr;  // of these tokens in the answer head; null: the full head
  const float* logits = nullptr;          // (look_count, width)
  std::int64_t width = 0;
  Choice* choices = nullptr;

  EDGEPOSE_PORTABLE std::int64_t groups() const noexcept { return look_count; }

  // Of one look. The alphabet's k-th token has logit `at(k)`.
  struct View {
    const float* logits = nullptr;
    const std::int32_t* tokens = nullptr;
    const std::int32_t* columns = nullptr;
    const std::int32_t* banned = nullptr;
    std::int32_t banned_count = 0;
    std::int32_t size = 0;

    EDGEPOSE_PORTABLE float at(std::int32_t k) const noexcept {
      for (std::int32_t i = 0; i < banned_count; ++i) {
        if (banned[i] == tokens[k]) return -HUGE_VALF;
      }
      return logits[columns == nullptr ? tokens[k] : columns[k]];
    }
  };

  EDGEPOSE_PORTABLE View view(const PlanLook& look, std::int64_t place, std::int32_t which) const {
    View view;
    view.logits = logits + place * width;
    view.tokens = tokens + offsets[which];
    view.columns = columns == nullptr ? nullptr : columns + offsets[which];
    view.size = offsets[which + 1] - offsets[which];
    if (columns != nullptr) {
      view.banned = banned + look.first_banned;
      view.banned_count = look.banned;
    }
    return view;
  }

  template <typename Group>
  EDGEPOSE_PORTABLE static BestLogit best_of(const View& view, const Group& group) {
    return group.template reduce<BestLogit>(
        [&](std::int32_t lane) {
          BestLogit best;
          for (std::int32_t k = lane; k < view.size; k += group.size()) {
            best = better(best, {view.at(k), k});
          }
          return best;
        },
        [](const BestLogit& a, const BestLogit& b) { return better(a, b); }
    );
  }

  // Share, mean and variance of the index under the softmax of the alphabet's own logits.
  template <typename Group>
  EDGEPOSE_PORTABLE static void measure(
      const View& view, float maximum, const Group& group, Choice& choice
  ) {
    const Moments sums = group.template reduce<Moments>(
        [&](std::int32_t lane) {
          Moments own;
          for (std::int32_t k = lane; k < view.size; k += group.size()) {
            const double weight =
                exp(static_cast<double>(view.at(k)) - static_cast<double>(maximum));
            own.total += weight;
            own.first += weight * k;
            own.second += weight * k * k;
            if (view.tokens[k] == choice.token) own.chosen = weight;
          }
          return own;
        },
        [](const Moments& a, const Moments& b) { return sum_of(a, b); }
    );
    const double mean = sums.first / sums.total;
    const double variance = sums.second / sums.total - mean * mean;
    choice.share = sums.chosen / sums.total;
    choice.mean = mean;
    choice.variance = variance > 0 ? variance : 0;
    // Not finite as soon as one logit is not, or all are banned.
    if (!(sums.total < HUGE_VAL)) choice.probability = choice.share = NAN;
  }

  template <typename Group>
  EDGEPOSE_PORTABLE void operator()(std::int64_t place, const Group& group) const {
    const PlanLook& look = looks[place];
    if (look.alphabet < 0) return;
    Choice choice;
    if (columns != nullptr) {
      among(look, place, group, choice);
    } else {
      from_all(look, place, group, choice);
    }
    if (group.leads()) choices[look.choice] = choice;
  }

 private:
  template <typename Group>
  EDGEPOSE_PORTABLE void among(
      const PlanLook& look, std::int64_t place, const Group& group, Choice& choice
  ) const {
    const View own = view(look, place, look.alphabet);
    const BestLogit best = best_of(own, group);
    choice.token = own.tokens[best.index];
    measure(own, best.logit, group, choice);
    choice.probability = choice.share;
  }

  template <typename Group>
  EDGEPOSE_PORTABLE void from_all(
      const PlanLook& look, std::int64_t place, const Group& group, Choice& choice
  ) const {
    const float* all = logits + place * width;
    const auto count = static_cast<std::int32_t>(width);
    const BestLogit best = group.template reduce<BestLogit>(
        [&](std::int32_t lane) {
          BestLogit own;
          for (std::int32_t k = lane; k < count; k += group.size()) own = better(own, {all[k], k});
          return own;
        },
        [](const BestLogit& a, const BestLogit& b) { return better(a, b); }
    );
    choice.token = best.index;
    const Moments sums = group.template reduce<Moments>(
        [&](std::int32_t lane) {
          Moments own;
          for (std::int32_t k = lane; k < count; k += group.size()) {
            own.total += static_cast<double>(expf(all[k] - best.logit));
          }
          return own;
        },
        [](const Moments& a, const Moments& b) { return sum_of(a, b); }
    );
    choice.probability = 1 / sums.total;
    View own = view(look, place, look.alphabet);
    const Moments found = group.template reduce<Moments>(
        [&](std::int32_t lane) {
          Moments inside;
          for (std::int32_t k = lane; k < own.size; k += group.size()) {
            if (own.tokens[k] == choice.token) inside.chosen = 1;
          }
          return inside;
        },
        [](const Moments& a, const Moments& b) { return sum_of(a, b); }
    );
    // What is chosen outside the alphabet is measured among the numbers.
    if (!(found.chosen > 0)) own = view(look, place, 0);
    measure(own, best_of(own, group).logit, group, choice);
    if (!(sums.total < HUGE_VAL)) choice.probability = NAN;
  }
};

// Lanes that take turns, on the host.
template <std::int32_t kLanes>
struct LoopGroup {
  EDGEPOSE_PORTABLE static constexpr std::int32_t size() noexcept { return kLanes; }
  EDGEPOSE_PORTABLE static constexpr bool leads() noexcept { return true; }

  template <typename Part, typename PartOf, typename Merge>
  EDGEPOSE_PORTABLE Part reduce(const PartOf& part_of, const Merge& merge) const {
    Part parts[kLanes];
    for (std::int32_t lane = 0; lane < kLanes; ++lane) parts[lane] = part_of(lane);
    for (std::int32_t stride = kLanes / 2; stride > 0; stride /= 2) {
      for (std::int32_t lane = 0; lane < stride; ++lane) {
        parts[lane] = merge(parts[lane], parts[lane + stride]);
      }
    }
    return parts[0];
  }
};

}  // namespace edgepose
