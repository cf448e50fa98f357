// SPDX-License-Identifier: Apache-2.0
// The kernels against the host's own ways to the same results: on the host in edgepose_tests, on a
// GPU in edgepose_gpu_tests.
#include "edgepose/kv_cache.hpp"
#include "edgepose/logits.hpp"
#include "edgepose/rope.hpp"
#include "edgepose/token_history.hpp"
#include "kernel_runner.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace edgepose {
namespace {

using testing::run_here;
using testing::Shared;

Shared<float> random_logits(std::mt19937& random, std::size_t count) {
  std::normal_distribution<float> normal(0, 4);
  Shared<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

void expect_close(const Choice& got, const Choice& expected) {
  EXPECT_EQ(got.token, expected.token);
  EXPECT_NEAR(got.probability, expected.probability, 1e-6);
  EXPECT_NEAR(got.share, expected.share, 1e-9);
  EXPECT_NEAR(got.mean, expected.mean, 1e-6);
  EXPECT_NEAR(got.variance, expected.variance, 1e-5 * (1 + expected.variance));
}

struct Alphabets {
  std::vector<Alphabet> all;
  Shared<std::int32_t> offsets = {0};
  Shared<std::int32_t> tokens;
  Shared<std::int32_t> columns;

  void add(std::vector<std::int32_t> ids, std::int32_t first_column) {
    for (const std::int32_t id : ids) {
      tokens.push_back(id);
      columns.push_back(first_column++);
    }
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
    all.push_back({std::move(ids)});
  }
};

TEST(ChooseKernel, ChoosesAsTheHostDoes) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    Alphabets alphabets;
    std::vector<std::int32_t> ids(1500);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    const auto at = [&](std::size_t n) { return ids.begin() + static_cast<std::ptrdiff_t>(n); };
    alphabets.add({at(0), at(10)}, 0);
    alphabets.add({at(10), at(1010)}, 10);
    const bool full = round % 2 == 1;
    const std::size_t width = full ? 1500 : 1010;
    auto logits = random_logits(random, 4 * width);
    if (round % 5 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // ties
    }
    Shared<PlanLook> looks(4);
    Shared<std::int32_t> banned = {3, ids[2], ids[700], ids[3]};
    looks[0] = {.alphabet = 0, .choice = 2};
    looks[2] = {.alphabet = 1, .choice = 0, .first_banned = 1, .banned = 2};
    looks[3] = {.alphabet = 0, .choice = 1, .first_banned = 1, .banned = 3};
    Shared<Choice> choices(3);
    ChooseKernel kernel;
    kernel.looks = looks.data();
    kernel.look_count = 4;
    kernel.banned = banned.data();
    kernel.offsets = alphabets.offsets.data();
    kernel.tokens = alphabets.tokens.data();
    kernel.columns = full ? nullptr : alphabets.columns.data();
    kernel.logits = logits.data();
    kernel.width = static_cast<std::int64_t>(width);
    kernel.choices = choices.data();
    run_here(kernel);
    for (const std::size_t place : {0U, 2U, 3U}) {
      const PlanLook& look = looks[place];
      const auto which = static_cast<std::size_t>(look.alphabet);
      const Alphabet& alphabet = alphabets.all[which];
      std::vector<float> row(
          logits.begin() + static_cast<std::ptrdiff_t>(place * width),
          logits.begin() + static_cast<std::ptrdiff_t>((place + 1) * width)
      );
      const Choice& got = choices[static_cast<std::size_t>(look.choice)];
      if (full) {
        expect_close(got, choose_from_all(row, alphabet, alphabets.all[0]));
        continue;
      }
      const std::vector<std::int32_t> columns(
          alphabets.columns.begin() + alphabets.offsets[which],
          alphabets.columns.begin() + alphabets.offsets[which + 1]
      );
      for (std::int32_t k = 0; k < look.banned; ++k) {
        const auto token = banned[static_cast<std::size_t>(look.first_banned + k)];
        const auto found = std::find(alphabet.tokens.begin(), alphabet.tokens.end(), token);
        if (found == alphabet.tokens.end()) continue;
        const auto column = columns[static_cast<std::size_t>(found - alphabet.tokens.begin())];
        row[static_cast<std::size_t>(column)] = -std::numeric_limits<float>::infinity();
      }
      expect_close(got, choose_among(row, columns, alphabet));
    }
  }
}

TEST(ChooseKernel, SaysThatThereIsNoDistribution) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const bool full : {false, true}) {
      for (std::size_t place = 0; place < 10; ++place) {
        Shared<float> logits(10, 1.0F);
        logits[place] = bad;
        Alphabets alphabets;
        alphabets.add({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0);
        const Shared<PlanLook> looks = {{.alphabet = 0}};
        Shared<Choice> choices(1);
        ChooseKernel kernel;
        kernel.looks = looks.data();
        kernel.look_count = 1;
        kernel.offsets = alphabets.offsets.data();
        kernel.tokens = alphabets.tokens.data();
        kernel.columns = full ? nullptr : alphabets.columns.data();
        kernel.logits = logits.data();
        kernel.width = 10;
        kernel.choices = choices.data();
        run_here(kernel);
        EXPECT_FALSE(std::isfinite(choices[0].probability)) << place;
        EXPECT_GE(choices[0].token, 0);
      }
    }
  }
}

TEST(PenaliseKernel, PenalisesAsTheHistoryDoes) {
  std::mt19937 random(2);
  constexpr std::int32_t kTokens = 70;
  for (int round = 0; round < 60; ++round) {
    const bool full = round % 2 == 0;
    TokenHistory history(kTokens);
    history.begin({.factor = 1.4F, .image_token = 9}, 2);
    const std::vector<std::int32_t> prefix = {5, -1, 7, 5, 66};
    history.set_prefix(prefix);
    Shared<std::uint32_t> said(3, 0);
    for (const std::int32_t token : {5, 9, 7, 66}) {
      said[static_cast<std::size_t>(token / 32)] |= 1U << (token % 32);
    }
    Shared<std::int32_t> tokens(64);
    for (std::size_t k = 0; k < tokens.size(); ++k) {
      tokens[k] = static_cast<std::int32_t>(random() % kTokens);
    }
    for (std::int64_t slot = 0; slot < 32; ++slot) {
      history.set(1, slot, tokens[static_cast<std::size_t>(32 + slot)]);
    }
    Shared<std::int32_t> head;  // every other token has a column
    Shared<std::int32_t> columns(kTokens, -1);
    for (std::int32_t token = kTokens - 1; token >= 0; token -= 2) {
      columns[static_cast<std::size_t>(token)] = static_cast<std::int32_t>(head.size());
      head.push_back(token);
    }
    const std::size_t width = full ? kTokens : head.size();
    Shared<float> got = random_logits(random, 2 * width);
    Shared<float> expected = got;
    const Shared<PlanNumbers> numbers = {{.penalty = 1.4F}};
    Shared<PlanLook> looks(2);
    looks[1] = {.alphabet = 0, .question = 1, .seen = 1 + static_cast<std::int32_t>(random() % 32)};
    PenaliseKernel kernel;
    kernel.looks = looks.data();
    kernel.look_count = 2;
    kernel.numbers = numbers.data();
    kernel.prefix_said = said.data();
    kernel.history = tokens.data();
    kernel.slots = 32;
    kernel.tokens = full ? nullptr : head.data();
    kernel.columns = full ? nullptr : columns.data();
    kernel.width = static_cast<std::int64_t>(width);
    kernel.logits = got.data();
    run_here(kernel);
    const std::span<float> row = std::span(expected).subspan(width);
    if (full) {
      history.penalise(1, looks[1].seen, row);
    } else {
      std::vector<std::int32_t> places(head.size());
      std::iota(places.begin(), places.end(), 0);
      history.penalise(1, looks[1].seen, row, head, places);
    }
    EXPECT_EQ(got, expected);
  }
}

TEST(RotateKernel, TurnsAsRopeDoes) {
  Rope rope(16, 5e6, std::vector<std::int64_t>{4, 2, 2});
  rope.reserve(40);
  const std::vector<std::int32_t> turned = rope.axes();
  const Shared<std::int32_t> axes(turned.begin(), turned.end());
  const Shared<float> cosines(rope.cosines().begin(), rope.cosines().end());
  const Shared<float> sines(rope.sines().begin(), rope.sines().end());
  std::mt19937 random(3);
  Shared<PlanCell> cells(9);
  for (PlanCell& cell : cells) {
    cell.time = static_cast<std::int32_t>(random() % 40);
    cell.row = static_cast<std::int32_t>(random() % 40);
    cell.column = static_cast<std::int32_t>(random() % 40);
  }
  Shared<float> cos(9 * 16);
  Shared<float> sin(9 * 16);
  RotateKernel kernel;
  kernel.cells = cells.data();
  kernel.cell_count = 9;
  kernel.head_dim = 16;
  kernel.cos_table = cosines.data();
  kernel.sin_table = sines.data();
  kernel.axis = axes.data();
  kernel.cos = cos.data();
  kernel.sin = sin.data();
  run_here(kernel);
  for (std::size_t k = 0; k < 9; ++k) {
    std::vector<float> c(16);
    std::vector<float> s(16);
    rope.write({cells[k].time, cells[k].row, cells[k].column}, c.data(), s.data());
    EXPECT_TRUE(std::equal(c.begin(), c.end(), cos.begin() + static_cast<std::ptrdiff_t>(16 * k)));
    EXPECT_TRUE(std::equal(s.begin(), s.end(), sin.begin() + static_cast<std::ptrdiff_t>(16 * k)));
  }
}

TEST(AppendKernel, WritesWhereTheCacheDoes) {
  for (const std::int64_t head_dim : {3, 8}) {  // rows of odd and of round sizes
    KvCache cache({.layers = 2, .kv_heads = 3, .head_dim = head_dim});
    cache.reset(1, 4, 6);
    constexpr std::int64_t kRows = 4;
    constexpr std::int64_t kWidth = 3;
    const auto fresh_plane = static_cast<std::size_t>(3 * kRows * kWidth * head_dim + 8);
    const auto cached = static_cast<std::size_t>(3 * 4 * 6 * head_dim);
    const std::size_t suffix_plane = cached + 4;
    Shared<float> fresh(4 * fresh_plane);
    std::iota(fresh.begin(), fresh.end(), 1.0F);
    Shared<PlanCell> cells(kRows * kWidth);
    const std::vector<std::int32_t> counts = {2, 0, 3, 1};
    const std::vector<std::int32_t> slots = {0, 0, 3, 5};
    for (std::int32_t row = 0; row < kRows; ++row) {
      const auto r = static_cast<std::size_t>(row);
      for (std::int32_t k = 0; k < counts[r]; ++k) {
        PlanCell& cell = cells[static_cast<std::size_t>(row * kWidth + k)];
        cell.question = row;
        cell.slot = slots[r] + k;
        cell.real = 1;
      }
      for (std::int64_t layer = 0; layer < 2; ++layer) {
        for (const auto which : {KeyOrValue::key, KeyOrValue::value}) {
          const auto at =
              static_cast<std::size_t>(2 * layer + static_cast<int>(which)) * fresh_plane;
          const KvCache::Fresh source{
              reinterpret_cast<const std::byte*>(fresh.data() + at), kRows, kWidth
          };
          cache.write(layer, which, source, row, 0, counts[r], row, slots[r]);
        }
      }
    }
    Shared<float> suffix(4 * suffix_plane, 0.0F);
    AppendKernel kernel;
    kernel.cells = cells.data();
    kernel.cell_count = kRows * kWidth;
    kernel.planes = 4;
    kernel.heads = 3;
    kernel.row_bytes = head_dim * 4;
    kernel.fresh_plane = static_cast<std::int64_t>(fresh_plane * sizeof(float));
    kernel.suffix_plane = static_cast<std::int64_t>(suffix_plane * sizeof(float));
    kernel.fresh = reinterpret_cast<const std::byte*>(fresh.data());
    kernel.suffix = reinterpret_cast<std::byte*>(suffix.data());
    kernel.questions = 4;
    kernel.capacity = 6;
    run_here(kernel);
    for (std::size_t plane = 0; plane < 4; ++plane) {
      const auto which = plane % 2 == 0 ? KeyOrValue::key : KeyOrValue::value;
      const float* got = suffix.data() + plane * suffix_plane;
      const auto* expected = cache.suffix(static_cast<std::int64_t>(plane / 2), which);
      EXPECT_EQ(std::memcmp(got, expected, cached * sizeof(float)), 0);
      EXPECT_TRUE(std::all_of(got + cached, got + suffix_plane, [](float x) { return x == 0; }));
    }
  }
}

TEST(GatherKernel, TakesTokensChoicesAndImageRows) {
  for (const std::int64_t hidden : {5, 8}) {
    const auto row = static_cast<std::size_t>(hidden);
    Shared<float> table(10 * row);
    std::iota(table.begin(), table.end(), 100.0F);
    Shared<float> image(2 * row);
    std::iota(image.begin(), image.end(), 900.0F);
    Shared<Choice> choices(2);
    choices[0].token = 7;
    choices[1].token = 12;  // of logits that were not finite, say: beyond the table
    Shared<PlanCell> cells(6);
    cells[0] = {.feed = 3, .question = 0, .slot = 2, .real = 1};
    cells[1] = {.feed = -1, .question = 0, .slot = 3, .real = 1};
    cells[2] = {.image = 1, .real = 1};
    cells[3] = {.feed = 4};  // padding
    cells[4] = {.feed = -2, .question = 1, .slot = 0, .real = 1};
    cells[5] = {.feed = 9, .real = 1};
    Shared<float> got(6 * row, -1.0F);
    Shared<std::int32_t> history(8, -5);
    GatherKernel kernel;
    kernel.cells = cells.data();
    kernel.cell_count = 6;
    kernel.row_bytes = hidden * 4;
    kernel.table = reinterpret_cast<const std::byte*>(table.data());
    kernel.vocabulary = 10;
    kernel.image = reinterpret_cast<const std::byte*>(image.data());
    kernel.choices = choices.data();
    kernel.target = reinterpret_cast<std::byte*>(got.data());
    kernel.history = history.data();
    kernel.history_slots = 4;
    run_here(kernel);
    const std::vector<float> first = {
        table[3 * row], table[7 * row], image[row], 0.0F, table[0], table[9 * row]
    };
    for (std::size_t k = 0; k < 6; ++k) {
      for (std::size_t i = 0; i < row; ++i) {
        EXPECT_EQ(got[k * row + i], k == 3 ? 0.0F : first[k] + static_cast<float>(i));
      }
    }
    EXPECT_EQ(history, (Shared<std::int32_t>{-5, -5, 3, 7, 0, -5, -5, -5}));
  }
}

TEST(MaskKernel, ShowsThePrefixOwnTokensAndItself) {
  Shared<PlanCell> cells(4);
  cells[0] = {.visible = 2, .real = 1};
  cells[1] = {.visible = 2, .first = 1, .real = 1};
  cells[2] = {.visible = 0, .real = 1};
  Shared<float> bias(4 * 6, 1.0F);
  MaskKernel kernel;
  kernel.cells = cells.data();
  kernel.rows = 2;
  kernel.width = 2;
  kernel.prefix = 1;
  kernel.suffix = 3;
  kernel.bias = bias.data();
  run_here(kernel);
  constexpr float kNo = kMaskedScore;
  EXPECT_EQ(bias, (Shared<float>{0,   0,   0,   kNo, 0,   kNo,  //
                                 0,   0,   0,   kNo, kNo, 0,    //
                                 0,   kNo, kNo, kNo, 0,   kNo,  //
                                 kNo, kNo, kNo, kNo, kNo, kNo}));
}

TEST(SpreadKernel, MovesRowsApart) {
  for (const auto& [from, to] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{6, 10}, {16, 32}, {32, 38}, {0, 16}}) {
    std::vector<std::byte> source(static_cast<std::size_t>(4 * from + 16));
    for (std::size_t k = 0; k < source.size(); ++k) source[k] = static_cast<std::byte>(k + 1);
    Shared<std::byte> a(256);
    Shared<std::byte> b(256);
    std::copy(source.begin(), source.end(), a.begin());
    const std::int64_t from_plane = 2 * from + 16;
    const std::int64_t to_plane = 2 * to + 32;
    run_here(SpreadKernel{
        .from = a.data(),
        .to = b.data(),
        .planes = 2,
        .rows = 2,
        .from_bytes = from,
        .to_bytes = to,
        .from_plane = from_plane,
        .to_plane = to_plane
    });
    for (std::int64_t row = 0; row < 4; ++row) {
      for (std::int64_t k = 0; k < to; ++k) {
        const auto there = static_cast<std::size_t>(row / 2 * to_plane + row % 2 * to + k);
        const auto here = static_cast<std::size_t>(row / 2 * from_plane + row % 2 * from + k);
        EXPECT_EQ(b[there], k < from ? a[here] : std::byte{0});
      }
    }
  }
}

TEST(RemapKernel, ReadsBetweenPixelsAndBlackOutside) {
  constexpr std::int64_t kWidth = 7;
  constexpr std::int64_t kHeight = 5;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kFar = std::numeric_limits<float>::infinity();
  std::mt19937 random(3);
  // Of each (height, width, 3) the strides: packed, channel by channel, with a fourth channel.
  const std::vector<std::vector<std::int64_t>> layouts = {
      {3 * kWidth, 3, 1}, {kWidth, 1, kHeight * kWidth}, {4 * kWidth + 8, 4, 1}
  };
  for (const auto& layout : layouts) {
    Shared<std::byte> pixels(200);
    for (std::byte& pixel : pixels) pixel = static_cast<std::byte>(random() % 256);
    const PixelView frame{pixels.data(), kWidth, kHeight, layout[0], layout[1], layout[2]};
    // Quarters, so that sums are exact in float32 and some lie between two levels.
    std::vector<float> x = {kNan, 1.0F, kFar, -kFar, 3e9F, 2.0F, -1.0F, 6.0F, 6.75F, 7.0F};
    std::vector<float> y = {1.0F, kNan, 1.0F, 2.0F, 1.0F, -3e19F, 2.0F, 4.0F, 4.5F, 4.0F};
    for (int k = 0; k < 190; ++k) {
      x.push_back(static_cast<float>(static_cast<int>(random() % 44) - 8) / 4);
      y.push_back(static_cast<float>(static_cast<int>(random() % 36) - 8) / 4);
    }
    Shared<float> map(x.begin(), x.end());
    map.insert(map.end(), y.begin(), y.end());
    Shared<std::byte> got(600, std::byte{77});
    RemapKernel kernel;
    kernel.from = frame;
    kernel.width = 20;
    kernel.height = 10;
    kernel.map = map.data();
    kernel.target = got.data();
    run_here(kernel);
    for (std::size_t k = 0; k < x.size(); ++k) {
      for (std::int32_t channel = 0; channel < 3; ++channel) {
        double expected = 0;  // each pixel counts as much as it is near
        for (std::int64_t row = 0; row < kHeight; ++row) {
          for (std::int64_t column = 0; column < kWidth; ++column) {
            const double across = 1 - std::abs(x[k] - static_cast<double>(column));
            const double down = 1 - std::abs(y[k] - static_cast<double>(row));
            if (across > 0 && down > 0) expected += across * down * frame.at(column, row, channel);
          }
        }
        EXPECT_EQ(
            static_cast<double>(got[3 * k + static_cast<std::size_t>(channel)]),
            std::nearbyint(expected)
        ) << x[k]
          << ' ' << y[k];
      }
    }
  }
}

}  // namespace
}  // namespace edgepose
