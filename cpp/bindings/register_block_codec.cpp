// SPDX-License-Identifier: Apache-2.0
#include "alphabets.hpp"
#include "edgepose/block_codec.hpp"
#include "edgepose/error.hpp"
#include "module.hpp"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace edgepose::python {

namespace py = pybind11;

namespace {

// By Block.
constexpr std::array kBlocks = {"box", "kpt2d", "kpt3d"};

using Markers = std::map<std::string, std::int32_t>;
using Separators = std::map<std::string, BlockLayout::Separator>;

template <typename Value>
std::string names_of(const std::map<std::string, Value>& map) {
  std::string names;
  for (const auto& [name, value] : map) names += (names.empty() ? "" : ", ") + name;
  return names;
}

std::int32_t marker(const Markers& markers, const std::string& name) {
  const auto found = markers.find(name);
  EDGEPOSE_CHECK(
      found != markers.end() && markers.size() == 2 * kBlocks.size(),
      BundleError,
      "[block codec] markers box_start, box_end, kpt2d_start, kpt2d_end, kpt3d_start, kpt3d_end; "
      "got ",
      names_of(markers)
  );
  return found->second;
}

Block block_named(const std::string& name) {
  for (std::size_t k = 0; k < kBlocks.size(); ++k) {
    if (name == kBlocks[k]) return static_cast<Block>(k);
  }
  throw BundleError(message("[block codec] blocks out of box, kpt2d and kpt3d; got ", name));
}

BlockLayout layout_of(const std::vector<std::string>& blocks, Separators separators) {
  BlockLayout layout;
  for (const std::string& name : blocks) layout.blocks.push_back(block_named(name));
  const auto take = [&](const char* name) {
    const auto found = separators.find(name);
    if (found == separators.end()) return BlockLayout::Separator();
    BlockLayout::Separator tokens = std::move(found->second);
    separators.erase(found);
    return tokens;
  };
  layout.after_box_start = take("after_box_start");
  layout.between_box_numbers = take("between_box_numbers");
  layout.before_box_end = take("before_box_end");
  layout.after_start = take("after_start");
  layout.after_name = take("after_name");
  layout.between_numbers = take("between_numbers");
  layout.between_joints = take("between_joints");
  layout.before_end = take("before_end");
  layout.between_blocks = take("between_blocks");
  layout.after_blocks = take("after_blocks");
  EDGEPOSE_CHECK(
      separators.empty(), BundleError, "[block codec] known separators; got ", names_of(separators)
  );
  return layout;
}

BlockCodec make_codec(
    std::vector<std::int32_t> bins,
    std::vector<std::int32_t> joints,
    const Markers& markers,
    std::int32_t end,
    const std::vector<std::string>& blocks,
    Separators separators
) {
  BlockTokens tokens{.bins = std::move(bins), .joints = std::move(joints), .end = end};
  for (std::size_t k = 0; k < kBlocks.size(); ++k) {
    tokens.starts[k] = marker(markers, std::string(kBlocks[k]) + "_start");
    tokens.ends[k] = marker(markers, std::string(kBlocks[k]) + "_end");
  }
  return {tokens, layout_of(blocks, std::move(separators))};
}

}  // namespace

void register_block_codec(py::module_& module) {
  py::class_<BlockPoint>(
      module, "BlockPoint", "One joint of an answer, shares of each axis' range."
  )
      .def_readonly("joint", &BlockPoint::joint, "Index into the codec's joints.")
      .def_readonly("xy", &BlockPoint::xy, "Two numbers, or none.")
      .def_readonly("xyz", &BlockPoint::xyz, "Three numbers, or none.")
      .def_readonly(
          "probability", &BlockPoint::probability, "Geometric mean over the numbers' tokens."
      );

  py::class_<BlockAnswer>(module, "BlockAnswer", "The numbers of an answer in blocks.")
      .def_readonly("box", &BlockAnswer::box, "x0, y0, x1, y1, or none.")
      .def_readonly("points", &BlockAnswer::points, "In the order they are first mentioned.");

  py::class_<BlockCodec>(
      module, "BlockCodec", "A person as blocks of bin tokens: box, 2-D and 3-D keypoints."
  )
      .def(
          py::init(&make_codec),
          py::kw_only(),
          py::arg("bins"),
          py::arg("joints"),
          py::arg("markers"),
          py::arg("end"),
          py::arg("blocks"),
          py::arg("separators")
      )
      .def_property_readonly(
          "alphabets", [](const BlockCodec& codec) { return tokens_of(codec.alphabets()); }
      )
      .def(
          "asked",
          [](const BlockCodec& codec, const std::vector<std::int32_t>& joints) {
            return codec.asked(joints);
          },
          py::arg("joints")
      )
      .def("free", &BlockCodec::free)
      .def("read", &BlockCodec::read, py::arg("answer"));
}

}  // namespace edgepose::python
