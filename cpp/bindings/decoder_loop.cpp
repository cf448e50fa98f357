// SPDX-License-Identifier: Apache-2.0
#include "decoder_loop.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace edgepose::python {

namespace py = pybind11;

namespace {

DataType type_of(const py::array& array) {
  for (const DataType type : {DataType::float32, DataType::float16}) {
    if (has_type(array, type)) return type;
  }
  throw InvalidInput(
      message("[embeddings] float32 or float16; got ", py::str(array.dtype()).cast<std::string>())
  );
}

std::string shape_of(const std::vector<std::int64_t>& shape) {
  return py::str(py::tuple(py::cast(shape))).cast<std::string>();
}

}  // namespace

bool has_type(const py::array& array, DataType type) {
  return array.dtype().equal(py::dtype(name_of(type)));
}

bool is_contiguous(const py::array& array) { return (array.flags() & py::array::c_style) != 0; }

DecoderLoop::DecoderLoop(DecoderDims dims, const py::array& embeddings, bool takes_device)
    : dims_(std::move(dims)), takes_device_(takes_device) {
  EDGEPOSE_CHECK(
      embeddings.ndim() == 2 && embeddings.shape(0) == dims_.vocabulary &&
          embeddings.shape(1) == dims_.hidden && is_contiguous(embeddings),
      InvalidInput,
      "[embeddings] contiguous (",
      dims_.vocabulary,
      ", ",
      dims_.hidden,
      "); got ",
      py::str(embeddings.attr("shape")).cast<std::string>(),
      is_contiguous(embeddings) ? "" : ", not contiguous"
  );
  dims_.activations = type_of(embeddings);
}

const std::byte* DecoderLoop::image_rows(
    const ImageRows& rows, std::int64_t count, const char* where
) const {
  const std::vector<std::int64_t> expected = {count, dims_.hidden};
  if (const auto* there = std::get_if<DeviceArray>(&rows)) {
    EDGEPOSE_CHECK(
        takes_device_ && there->shape == expected && there->type == dims_.activations,
        InvalidInput,
        "[",
        where,
        "] ",
        shape_of(expected),
        " ",
        name_of(dims_.activations),
        takes_device_ ? "" : " in host memory",
        "; got ",
        shape_of(there->shape),
        " ",
        name_of(there->type),
        " on a device"
    );
    return reinterpret_cast<const std::byte*>(there->address);
  }
  const auto& array = std::get<py::array>(rows);
  EDGEPOSE_CHECK(
      array.ndim() == 2 && array.shape(0) == count && array.shape(1) == dims_.hidden &&
          is_contiguous(array) && has_type(array, dims_.activations),
      InvalidInput,
      "[",
      where,
      "] contiguous ",
      shape_of(expected),
      " ",
      name_of(dims_.activations),
      "; got ",
      py::str(array.attr("shape")).cast<std::string>(),
      " ",
      py::str(array.dtype()).cast<std::string>(),
      is_contiguous(array) ? "" : ", not contiguous"
  );
  return static_cast<const std::byte*>(array.data());
}

Decoding DecoderLoop::decode(
    const Form& form,
    const std::vector<std::int32_t>& prefix,
    const std::optional<ImageRows>& image,
    const std::optional<ImageGrid>& grid,
    const std::vector<ImageRows>& deepstack,
    const std::vector<std::vector<std::int32_t>>& questions,
    const std::vector<Guess>& drafts,
    const DecodeOptions& options
) {
  const auto rows = std::count(prefix.begin(), prefix.end(), kImageToken);
  EDGEPOSE_CHECK(
      image || rows == 0,
      InvalidInput,
      "[image embeddings] (",
      rows,
      ", ",
      dims_.hidden,
      ") ",
      name_of(dims_.activations),
      "; got none"
  );
  const bool there = image && std::holds_alternative<DeviceArray>(*image);
  const std::byte* data = image ? image_rows(*image, rows, "image embeddings") : nullptr;
  std::vector<const std::byte*> features;
  for (const ImageRows& each : deepstack) {
    EDGEPOSE_CHECK(
        std::holds_alternative<DeviceArray>(each) == there,
        InvalidInput,
        "[deepstack] features beside the image embeddings, on host or device; got some of each"
    );
    features.push_back(image_rows(each, rows, "deepstack"));
  }
  const py::gil_scoped_release no_gil;
  return decoder().decode(form, {prefix, data, questions, grid, features, drafts, there}, options);
}

}  // namespace edgepose::python
