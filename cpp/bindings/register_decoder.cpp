// SPDX-License-Identifier: Apache-2.0
#include "edgepose/decoder.hpp"
#include "edgepose/digit_codec.hpp"
#include "edgepose/error.hpp"
#include "edgepose/host_backend.hpp"
#include "module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace edgepose::python {

namespace py = pybind11;

namespace {

bool has_type(const py::array& array, DataType type) {
  return array.dtype().equal(py::dtype(name_of(type)));
}

bool is_contiguous(const py::array& array) { return (array.flags() & py::array::c_style) != 0; }

DataType type_of(const py::array& array) {
  for (const DataType type : {DataType::float32, DataType::float16}) {
    if (has_type(array, type)) return type;
  }
  throw InvalidInput(
      message("[embeddings] float32 or float16; got ", py::str(array.dtype()).cast<std::string>())
  );
}

// A decoder on host memory together with what it looks at.
class HostDecoder {
 public:
  HostDecoder(
      std::shared_ptr<Graphs> graphs,
      const DecoderDims& dims,
      const py::array& embeddings,
      const std::vector<std::int32_t>& answer_head,
      const DigitCodec& codec
  )
      : graphs_(std::move(graphs)),
        embeddings_(embeddings),
        form_(codec.form()),
        dims_(with_type(dims, embeddings)),
        backend_(
            *graphs_,
            dims_,
            static_cast<const std::byte*>(embeddings_.data()),
            form_.alphabets,
            answer_head
        ),
        decoder_(backend_, form_) {}

  Decoding decode(
      const std::vector<std::int32_t>& prefix,
      const std::optional<py::array>& image,
      const std::vector<std::vector<std::int32_t>>& questions,
      const DecodeOptions& options
  ) {
    const auto rows = std::count(prefix.begin(), prefix.end(), kImageToken);
    const std::byte* data = nullptr;
    if (image) {
      EDGEPOSE_CHECK(
          image->ndim() == 2 && image->shape(0) == rows && image->shape(1) == dims_.hidden &&
              is_contiguous(*image) && has_type(*image, dims_.activations),
          InvalidInput,
          "[image embeddings] contiguous (",
          rows,
          ", ",
          dims_.hidden,
          ") ",
          name_of(dims_.activations),
          "; got ",
          py::str(image->attr("shape")).cast<std::string>(),
          " ",
          py::str(image->dtype()).cast<std::string>(),
          is_contiguous(*image) ? "" : ", not contiguous"
      );
      data = static_cast<const std::byte*>(image->data());
    }
    EDGEPOSE_CHECK(
        data != nullptr || rows == 0,
        InvalidInput,
        "[image embeddings] (",
        rows,
        ", ",
        dims_.hidden,
        ") ",
        name_of(dims_.activations),
        "; got none"
    );
    const py::gil_scoped_release no_gil;
    return decoder_.decode({prefix, data, questions}, options);
  }

 private:
  static DecoderDims with_type(DecoderDims dims, const py::array& embeddings) {
    EDGEPOSE_CHECK(
        embeddings.ndim() == 2 && embeddings.shape(0) == dims.vocabulary &&
            embeddings.shape(1) == dims.hidden && is_contiguous(embeddings),
        InvalidInput,
        "[embeddings] contiguous (",
        dims.vocabulary,
        ", ",
        dims.hidden,
        "); got ",
        py::str(embeddings.attr("shape")).cast<std::string>(),
        is_contiguous(embeddings) ? "" : ", not contiguous"
    );
    dims.activations = type_of(embeddings);
    return dims;
  }

  std::shared_ptr<Graphs> graphs_;
  py::array embeddings_;
  Form form_;
  DecoderDims dims_;
  HostBackend backend_;
  Decoder decoder_;
};

}  // namespace

void register_decoder(py::module_& module) {
  py::class_<DecoderDims>(module, "DecoderDims", "Sizes of the decoder, as the bundle states them.")
      .def(
          py::init([](std::int64_t hidden,
                      std::int64_t layers,
                      std::int64_t heads,
                      std::int64_t kv_heads,
                      std::int64_t head_dim,
                      std::int64_t vocabulary,
                      double rope_theta) {
            return DecoderDims{hidden, layers, heads, kv_heads, head_dim, vocabulary, rope_theta};
          }),
          py::kw_only(),
          py::arg("hidden"),
          py::arg("layers"),
          py::arg("heads"),
          py::arg("kv_heads"),
          py::arg("head_dim"),
          py::arg("vocabulary"),
          py::arg("rope_theta")
      );

  py::class_<PassCount>(module, "PassCount", "How often the decoder graph ran.")
      .def_readonly("prefix", &PassCount::prefix)
      .def_readonly("suffix", &PassCount::suffix)
      .def_readonly("decode", &PassCount::decode);

  py::class_<DecodeSeconds>(
      module, "DecodeSeconds", "Seconds by stage; `graphs` is part of their sum."
  )
      .def_readonly("prefix", &DecodeSeconds::prefix)
      .def_readonly("suffix", &DecodeSeconds::suffix)
      .def_readonly("decode", &DecodeSeconds::decode)
      .def_readonly("graphs", &DecodeSeconds::graphs);

  py::class_<Decoding>(module, "Decoding", "Answers, passes and time of one prompt.")
      .def_readonly("answers", &Decoding::answers)
      .def_readonly("passes", &Decoding::passes)
      .def_readonly("seconds", &Decoding::seconds);

  module.attr("IMAGE_TOKEN") = kImageToken;

  py::class_<HostDecoder>(
      module,
      "HostDecoder",
      "The decoder loop over graphs that run on host memory. For one thread at a time."
  )
      .def(
          py::init<
              std::shared_ptr<Graphs>,
              const DecoderDims&,
              const py::array&,
              const std::vector<std::int32_t>&,
              const DigitCodec&>(),
          py::arg("graphs").none(false),
          py::arg("dims"),
          py::arg("embeddings"),
          py::arg("answer_head"),
          py::arg("codec"),
          "embeddings: (vocabulary, hidden) float32 or float16, contiguous; may be a memory map."
      )
      .def(
          "decode",
          [](HostDecoder& decoder,
             const std::vector<std::int32_t>& prefix,
             const std::optional<py::array>& image,
             const std::vector<std::vector<std::int32_t>>& questions,
             bool exact,
             std::int32_t max_tokens,
             std::int32_t end,
             std::int64_t max_positions) {
            return decoder.decode(
                prefix,
                image,
                questions,
                {.mode = exact ? Mode::exact : Mode::constrained,
                 .max_tokens = max_tokens,
                 .end = end,
                 .max_positions = max_positions}
            );
          },
          py::kw_only(),
          py::arg("prefix"),
          py::arg("image"),
          py::arg("questions"),
          py::arg("exact"),
          py::arg("max_tokens"),
          py::arg("end"),
          py::arg("max_positions"),
          "prefix: token ids, IMAGE_TOKEN for each row of `image`, (rows, hidden) in the "
          "embeddings' "
          "type. questions: token ids of each question behind the prefix."
      );
}

}  // namespace edgepose::python
