// SPDX-License-Identifier: Apache-2.0
// What this is: from a frame in the memory of a device to the vision encoder's input, one struct a
// kernel: see decoder_kernels.hpp for what that means.
// Contract: frames are uint8 RGB with any strides. The numbers equal those of the package's own
// preprocessing to the bit: see Note [fused levels] for OpenCV's, resampling is Pillow's.
// Source: SquareCrop.warp and normalise in crop.py, Camera.undistort in camera.py, FocalFrame.apply
// in frame.py, patchify in patches.py.
#pragma once

#include "edgepose/portable.hpp"

#include <cstddef>
#include <cstdint>

namespace edgepose {

// An (height, width, 3) uint8 image; strides in bytes.
struct PixelView {
  const std::byte* data = nullptr;
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t row_stride = 0;
  std::int64_t pixel_stride = 3;
  std::int64_t channel_stride = 1;

  EDGEPOSE_PORTABLE std::int32_t at(std::int64_t x, std::int64_t y, std::int32_t channel)
      const noexcept {
    return static_cast<std::int32_t>(
        data[y * row_stride + x * pixel_stride + channel * channel_stride]
    );
  }
};

// How levels from 0 to 255 become the encoder's numbers: (level / 255 - mean) / std.
struct Normalisation {
  float mean[3] = {0, 0, 0};
  float std[3] = {1, 1, 1};

  EDGEPOSE_PORTABLE float operator()(float level, std::int32_t channel) const noexcept {
    return (level / 255.0F - mean[channel]) / std[channel];
  }
};

// float16 bits of a float32, rounded to nearest, ties to even.
EDGEPOSE_PORTABLE inline std::uint16_t half_bits(float value) noexcept {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);  // NaN
  if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (magnitude < 0x33000001U) return sign;  // at most half of the smallest
  const auto exponent = static_cast<std::int32_t>(magnitude >> 23) - 127;
  const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
  const std::int32_t drop = exponent < -14 ? -1 - exponent : 13;  // bits
  const std::uint32_t half = 1U << (drop - 1);
  std::uint32_t kept = mantissa >> drop;
  const std::uint32_t rest = mantissa & ((1U << drop) - 1U);
  if (rest > half || (rest == half && (kept & 1U) != 0)) ++kept;
  const std::uint32_t base = exponent < -14 ? 0U : static_cast<std::uint32_t>(exponent + 14) << 10;
  return static_cast<std::uint16_t>(sign | (base + kept));
}

EDGEPOSE_PORTABLE inline void store_number(
    std::byte* target, std::int64_t index, bool half, float number
) noexcept {
  if (half) {
    const std::uint16_t bits = half_bits(number);
    __builtin_memcpy(target + index * 2, &bits, 2);
  } else {
    __builtin_memcpy(target + index * 4, &number, 4);
  }
}

// Note [fused levels]: OpenCV 5 interpolates 8-bit images in float32 and adds each product in one
// rounding where the processor can (AVX2, NEON), as is done here on every device. Where it cannot,
// single levels round the other way. Compilers fuse a product and a sum as they please, so what is
// to be fused says so, and what is not (the slant of a warp) goes through float64.

// A place between the pixels of a frame. Levels are bilinear and black outside of the frame.
struct PixelPlace {
  PixelView frame;
  float across = 0;  // from `column` towards the next, 0 to 1
  float down = 0;
  std::int64_t column = 0;
  std::int64_t row = 0;
  bool seen = false;  // whether a pixel of the frame has a part in it

  EDGEPOSE_PORTABLE PixelPlace(const PixelView& view, float x, float y) noexcept : frame(view) {
    const float left = __builtin_floorf(x);
    const float top = __builtin_floorf(y);
    // False for NaN too; what is seen fits an integer.
    seen = left >= -1.0F && top >= -1.0F && left < static_cast<float>(frame.width) &&
           top < static_cast<float>(frame.height);
    if (!seen) return;
    across = x - left;
    down = y - top;
    column = static_cast<std::int64_t>(left);
    row = static_cast<std::int64_t>(top);
  }

  // A whole number, ties to even.
  EDGEPOSE_PORTABLE float level(std::int32_t channel) const noexcept {
    if (!seen) return 0.0F;
    const float a = pixel(column, row, channel);
    const float b = pixel(column + 1, row, channel);
    const float c = pixel(column, row + 1, channel);
    const float d = pixel(column + 1, row + 1, channel);
    const float upper = __builtin_fmaf(across, b - a, a);
    const float lower = __builtin_fmaf(across, d - c, c);
    return __builtin_rintf(__builtin_fmaf(down, lower - upper, upper));
  }

  EDGEPOSE_PORTABLE float pixel(std::int64_t x, std::int64_t y, std::int32_t channel)
      const noexcept {
    const bool inside = x >= 0 && y >= 0 && x < frame.width && y < frame.height;
    return inside ? static_cast<float>(frame.at(x, y, channel)) : 0.0F;
  }
};

// An affine map of the frame, normalised. An index is a pixel of the crop.
struct WarpKernel {
  PixelView frame;
  float inverse[6] = {};  // crop pixels to frame pixels, row by row
  std::int64_t size = 0;  // side of the crop
  Normalisation normalisation;
  bool half = false;
  std::byte* target = nullptr;  // (3, size, size)

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return size * size; }

  EDGEPOSE_PORTABLE float coordinate(std::int64_t u, std::int64_t v, const float* map)
      const noexcept {
    const auto slant = static_cast<float>(static_cast<double>(v) * static_cast<double>(map[1]));
    return __builtin_fmaf(static_cast<float>(u), map[0], slant + map[2]);
  }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t u = index % size;
    const std::int64_t v = index / size;
    const PixelPlace place(frame, coordinate(u, v, inverse), coordinate(u, v, inverse + 3));
    for (std::int32_t channel = 0; channel < 3; ++channel) {
      const float number = normalisation(place.level(channel), channel);
      store_number(target, channel * size * size + index, half, number);
    }
  }
};

// Each pixel from where a map says, black where that is outside. An index is a pixel of the result.
struct RemapKernel {
  PixelView from;
  std::int64_t width = 0;  // of the result
  std::int64_t height = 0;
  const float* map = nullptr;   // (2, height, width) x and y in `from`, pixels; may be NaN
  std::byte* target = nullptr;  // (height, width, 3) uint8

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return width * height; }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const PixelPlace place(from, map[index], map[count() + index]);
    for (std::int32_t channel = 0; channel < 3; ++channel) {
      target[index * 3 + channel] =
          static_cast<std::byte>(static_cast<std::int32_t>(place.level(channel)));
    }
  }
};

// One axis of Pillow's resampling: weighted sums of neighbours, in whole numbers. An index is a
// pixel of the result.
struct ResampleKernel {
  PixelView from;
  bool vertical = false;
  std::int64_t width = 0;  // of the result
  std::int64_t height = 0;
  const std::int32_t* first = nullptr;    // (columns or rows of the result) of the neighbours
  const std::int32_t* weights = nullptr;  // (columns or rows, taps) in units of 2^-22
  std::int64_t taps = 0;
  std::byte* target = nullptr;  // (height, width, 3) uint8

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return width * height; }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    constexpr std::int32_t kBits = 22;
    const std::int64_t column = index % width;
    const std::int64_t row = index / width;
    const std::int64_t place = vertical ? row : column;
    const std::int64_t length = vertical ? from.height : from.width;
    for (std::int32_t channel = 0; channel < 3; ++channel) {
      std::int32_t sum = 1 << (kBits - 1);
      for (std::int64_t tap = 0; tap < taps && first[place] + tap < length; ++tap) {
        const std::int64_t at = first[place] + tap;
        const std::int32_t level =
            vertical ? from.at(column, at, channel) : from.at(at, row, channel);
        sum += level * weights[place * taps + tap];
      }
      const std::int32_t level = sum >> kBits;
      target[index * 3 + channel] = static_cast<std::byte>(
          level < 0     ? 0
          : level > 255 ? 255
                        : level
      );
    }
  }
};

// Pixels in the order of patches, normalised. An index is a number of the result.
struct PatchKernel {
  PixelView from;
  std::int64_t patch = 0;         // side, pixels
  std::int64_t merge = 0;         // patches per side of a merged token
  const float* levels = nullptr;  // (256, 3) what becomes of each level
  bool half = false;
  std::byte* target = nullptr;  // (patches, 3, patch, patch)

  EDGEPOSE_PORTABLE std::int64_t count() const noexcept { return from.width * from.height * 3; }

  EDGEPOSE_PORTABLE void operator()(std::int64_t index) const noexcept {
    const std::int64_t area = patch * patch;
    const std::int64_t number = index / (3 * area);  // of the patch, in Note [patch order]
    const auto channel = static_cast<std::int32_t>(index / area % 3);
    const std::int64_t inside = index % area;
    const std::int64_t group = number / (merge * merge);
    const std::int64_t member = number % (merge * merge);
    const std::int64_t groups = from.width / (patch * merge);
    const std::int64_t row = group / groups * merge + member / merge;
    const std::int64_t column = group % groups * merge + member % merge;
    const std::int32_t level =
        from.at(column * patch + inside % patch, row * patch + inside / patch, channel);
    store_number(target, index, half, levels[level * 3 + channel]);
  }
};

}  // namespace edgepose
