// SPDX-License-Identifier: Apache-2.0
// What this is: what all decoders that Python sees have in common: the sizes and the check of what
// comes from Python.
#pragma once

#include "edgepose/decoder.hpp"
#include "edgepose/decoder_dims.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

namespace edgepose::python {

// An array in the memory of a device, for whose life its owner answers.
struct DeviceArray {
  std::uintptr_t address = 0;
  std::vector<std::int64_t> shape;
  DataType type = DataType::float32;
};

// Image embeddings or features: on the host or on the decoder's device.
using ImageRows = std::variant<pybind11::array, DeviceArray>;

bool has_type(const pybind11::array& array, DataType type);
bool is_contiguous(const pybind11::array& array);

class DecoderLoop {
 public:
  // `embeddings`: (vocabulary, hidden), whose type is that of the activations; InvalidInput
  // otherwise. `takes_device`: whether image rows may lie on a device.
  DecoderLoop(DecoderDims dims, const pybind11::array& embeddings, bool takes_device);
  virtual ~DecoderLoop() = default;

  Decoding decode(
      const Form& form,
      const std::vector<std::int32_t>& prefix,
      const std::optional<ImageRows>& image,
      const std::optional<ImageGrid>& grid,
      const std::vector<ImageRows>& deepstack,
      const std::vector<std::vector<std::int32_t>>& questions,
      const std::vector<Guess>& drafts,
      const DecodeOptions& options
  );

  virtual Decoder& decoder() = 0;
  const DecoderDims& dims() const noexcept { return dims_; }

 private:
  const std::byte* image_rows(const ImageRows& rows, std::int64_t count, const char* where) const;

  DecoderDims dims_;
  bool takes_device_;
};

}  // namespace edgepose::python
