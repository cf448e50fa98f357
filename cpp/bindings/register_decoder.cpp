// SPDX-License-Identifier: Apache-2.0
#include "alphabets.hpp"
#include "decoder_loop.hpp"
#include "edgepose/decoder.hpp"
#include "edgepose/error.hpp"
#include "edgepose/host_backend.hpp"
#include "module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace edgepose::python {

namespace py = pybind11;

namespace {

std::vector<Guess> guesses_of(
    const std::vector<std::vector<std::int32_t>>& drafts, const std::vector<std::int64_t>& offers
) {
  EDGEPOSE_CHECK(
      offers.empty() || offers.size() == drafts.size(),
      InvalidInput,
      "[drafts] an offer for each of ",
      drafts.size(),
      " drafts, or none; got ",
      offers.size()
  );
  std::vector<Guess> guesses;
  for (const auto& tokens : drafts) guesses.push_back({.tokens = tokens});
  for (std::size_t k = 0; k < offers.size(); ++k) guesses[k].first = offers[k];
  return guesses;
}

// A decoder on host memory together with what it looks at.
class HostDecoder final : public DecoderLoop {
 public:
  HostDecoder(
      std::shared_ptr<Graphs> graphs,
      const DecoderDims& dims,
      const py::array& embeddings,
      const std::vector<std::int32_t>& answer_head,
      TokenLists alphabets
  )
      : DecoderLoop(dims, embeddings, false),
        graphs_(std::move(graphs)),
        embeddings_(embeddings),
        backend_(
            *graphs_,
            this->dims(),
            static_cast<const std::byte*>(embeddings_.data()),
            alphabets_of(std::move(alphabets)),
            answer_head
        ),
        decoder_(backend_) {}

  Decoder& decoder() override { return decoder_; }

 private:
  std::shared_ptr<Graphs> graphs_;
  py::array embeddings_;
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
                      double rope_theta,
                      std::vector<std::int64_t> rope_sections,
                      std::int64_t deepstack) {
            return DecoderDims{
                .hidden = hidden,
                .layers = layers,
                .heads = heads,
                .kv_heads = kv_heads,
                .head_dim = head_dim,
                .vocabulary = vocabulary,
                .rope_theta = rope_theta,
                .rope_sections = std::move(rope_sections),
                .deepstack = deepstack
            };
          }),
          py::kw_only(),
          py::arg("hidden"),
          py::arg("layers"),
          py::arg("heads"),
          py::arg("kv_heads"),
          py::arg("head_dim"),
          py::arg("vocabulary"),
          py::arg("rope_theta"),
          py::arg("rope_sections") = std::vector<std::int64_t>(),
          py::arg("deepstack") = 0
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

  py::class_<DraftCount>(
      module, "DraftCount", "Tokens of answers that drafts guessed; forced ones are not counted."
  )
      .def_readonly("offered", &DraftCount::offered, "Guesses that the model was asked about.")
      .def_readonly("accepted", &DraftCount::accepted, "Of these, what the model said too.")
      .def_readonly("free", &DraftCount::free, "What the model said in all.");

  py::class_<Decoding>(module, "Decoding", "Answers, passes and time of one prompt.")
      .def_readonly("answers", &Decoding::answers)
      .def_readonly("passes", &Decoding::passes)
      .def_readonly("seconds", &Decoding::seconds)
      .def_readonly("drafts", &Decoding::drafts);

  module.attr("IMAGE_TOKEN") = kImageToken;

  py::class_<DecoderLoop>(
      module, "DecoderLoop", "The loop from prompts to answers. For one thread at a time."
  )
      .def(
          "decode",
          [](DecoderLoop& decoder,
             const Form& form,
             const std::vector<std::int32_t>& prefix,
             const std::optional<ImageRows>& image,
             const std::optional<std::array<std::int64_t, 2>>& image_grid,
             const std::vector<ImageRows>& deepstack,
             const std::vector<std::vector<std::int32_t>>& questions,
             const std::vector<std::vector<std::int32_t>>& drafts,
             const std::vector<std::int64_t>& offers,
             bool exact,
             std::int32_t max_tokens,
             std::int32_t end,
             std::int64_t max_positions,
             float repetition_penalty,
             bool penalise_numbers,
             std::int32_t image_token) {
            std::optional<ImageGrid> grid;
            if (image_grid) grid = ImageGrid{(*image_grid)[0], (*image_grid)[1]};
            return decoder.decode(
                form,
                prefix,
                image,
                grid,
                deepstack,
                questions,
                guesses_of(drafts, offers),
                {.mode = exact ? Mode::exact : Mode::constrained,
                 .max_tokens = max_tokens,
                 .end = end,
                 .max_positions = max_positions,
                 .penalty = {.factor = repetition_penalty, .image_token = image_token},
                 .penalise_numbers = penalise_numbers}
            );
          },
          py::kw_only(),
          py::arg("form"),
          py::arg("prefix"),
          py::arg("image"),
          py::arg("image_grid") = py::none(),
          py::arg("deepstack") = std::vector<ImageRows>(),
          py::arg("questions"),
          py::arg("drafts") = std::vector<std::vector<std::int32_t>>(),
          py::arg("offers") = std::vector<std::int64_t>(),
          py::arg("exact"),
          py::arg("max_tokens"),
          py::arg("end"),
          py::arg("max_positions"),
          py::arg("repetition_penalty") = 1.0F,
          py::arg("penalise_numbers") = false,
          py::arg("image_token") = -1,
          "form: of the answers. prefix: token ids, IMAGE_TOKEN for each row of `image`, (rows, "
          "hidden) in the embeddings' type, a DeviceArray where the decoder works on a device. "
          "image_grid: rows and columns in which the image rows "
          "lie, where positions have three axes. deepstack: arrays like `image`, to be added "
          "behind "
          "the first decoder layers. questions: token ids of each question behind the prefix. "
          "drafts: guesses of the answers' token ids, one a question or none at all; they change "
          "the "
          "number of passes and no answer. offers: how many tokens of each the first pass is "
          "offered; "
          "none for all. image_token: what an image row counts as for the "
          "penalty."
      )
      .def(
          "groups",
          [](DecoderLoop& decoder, std::int64_t questions) {
            return decoder.decoder().groups(questions);
          },
          py::arg("questions"),
          "Into how many groups so many questions are split, each with passes of its own."
      );

  py::class_<HostDecoder, DecoderLoop>(
      module, "HostDecoder", "The decoder loop over graphs that run on host memory."
  )
      .def(
          py::init<
              std::shared_ptr<Graphs>,
              const DecoderDims&,
              const py::array&,
              const std::vector<std::int32_t>&,
              TokenLists>(),
          py::arg("graphs").none(false),
          py::arg("dims"),
          py::arg("embeddings"),
          py::arg("answer_head"),
          py::arg("alphabets"),
          "embeddings: (vocabulary, hidden) float32 or float16, contiguous; may be a memory map. "
          "alphabets: the codec's, over which all forms are."
      );
}

}  // namespace edgepose::python
