// SPDX-License-Identifier: Apache-2.0
#include "alphabets.hpp"
#include "decoder_loop.hpp"
#include "edgepose/device_backend.hpp"
#include "edgepose/error.hpp"
#include "edgepose/host_device.hpp"
#include "module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace edgepose::python {

namespace py = pybind11;

namespace {

DataType type_named(const std::string& name) {
  for (const DataType type : {DataType::float32, DataType::float16, DataType::int64}) {
    if (name == name_of(type)) return type;
  }
  throw InvalidInput(message("[device array] float32, float16 or int64; got ", name));
}

// A decoder on a device's memory together with what it looks at.
class DeviceDecoder final : public DecoderLoop {
 public:
  DeviceDecoder(
      std::shared_ptr<Device> device,
      std::shared_ptr<Graphs> graphs,
      const DecoderDims& dims,
      const py::array& embeddings,
      const std::vector<std::int32_t>& answer_head,
      TokenLists alphabets,
      const DeviceOptions& options
  )
      : DecoderLoop(dims, embeddings, true),
        device_(std::move(device)),
        graphs_(std::move(graphs)),
        backend_(
            *device_,
            *graphs_,
            this->dims(),
            static_cast<const std::byte*>(embeddings.data()),
            alphabets_of(std::move(alphabets)),
            answer_head,
            options
        ),
        decoder_(backend_) {}

  Decoder& decoder() override { return decoder_; }
  std::int64_t captures() const noexcept { return backend_.captures(); }

 private:
  std::shared_ptr<Device> device_;
  std::shared_ptr<Graphs> graphs_;
  DeviceBackend backend_;
  Decoder decoder_;
};

std::byte* at(std::uintptr_t address) { return reinterpret_cast<std::byte*>(address); }

// float32 or float16; InvalidInput otherwise.
bool is_half(const DeviceArray& target) {
  EDGEPOSE_CHECK(
      target.type != DataType::int64,
      InvalidInput,
      "[frame] float32 or float16 for the vision encoder; got ",
      name_of(target.type)
  );
  return target.type == DataType::float16;
}

void warp(
    Device& device,
    const PixelView& frame,
    const std::array<float, 6>& inverse,
    const std::array<float, 3>& mean,
    const std::array<float, 3>& std,
    const DeviceArray& target
) {
  WarpKernel kernel;
  kernel.frame = frame;
  kernel.size = target.shape.back();
  kernel.half = is_half(target);
  kernel.target = at(target.address);
  for (std::size_t k = 0; k < inverse.size(); ++k) kernel.inverse[k] = inverse[k];
  for (std::size_t k = 0; k < mean.size(); ++k) {
    kernel.normalisation.mean[k] = mean[k];
    kernel.normalisation.std[k] = std[k];
  }
  device.launch(kernel);
}

void remap(Device& device, const PixelView& frame, std::uintptr_t map, const PixelView& target) {
  RemapKernel kernel;
  kernel.from = frame;
  kernel.width = target.width;
  kernel.height = target.height;
  kernel.map = reinterpret_cast<const float*>(map);
  kernel.target = const_cast<std::byte*>(target.data);
  device.launch(kernel);
}

void resample(
    Device& device,
    const PixelView& frame,
    bool vertical,
    std::uintptr_t first,
    std::uintptr_t weights,
    std::int64_t taps,
    const PixelView& target
) {
  ResampleKernel kernel;
  kernel.from = frame;
  kernel.vertical = vertical;
  kernel.width = target.width;
  kernel.height = target.height;
  kernel.first = reinterpret_cast<const std::int32_t*>(first);
  kernel.weights = reinterpret_cast<const std::int32_t*>(weights);
  kernel.taps = taps;
  kernel.target = const_cast<std::byte*>(target.data);
  device.launch(kernel);
}

void cut_patches(
    Device& device,
    const PixelView& frame,
    std::int64_t patch,
    std::int64_t merge,
    std::uintptr_t levels,
    const DeviceArray& target
) {
  PatchKernel kernel;
  kernel.from = frame;
  kernel.patch = patch;
  kernel.merge = merge;
  kernel.levels = reinterpret_cast<const float*>(levels);
  kernel.half = is_half(target);
  kernel.target = at(target.address);
  device.launch(kernel);
}

}  // namespace

void register_device(py::module_& module) {
  py::class_<DeviceArray>(
      module, "DeviceArray", "Contiguous memory of a device. Its owner keeps it alive."
  )
      .def(
          py::init(
              [](std::uintptr_t address, std::vector<std::int64_t> shape, const std::string& dtype
              ) { return DeviceArray{address, std::move(shape), type_named(dtype)}; }
          ),
          py::arg("address"),
          py::arg("shape"),
          py::arg("dtype")
      )
      .def_readonly("address", &DeviceArray::address)
      .def_property_readonly(
          "shape", [](const DeviceArray& array) { return py::tuple(py::cast(array.shape)); }
      )
      .def_property_readonly("dtype", [](const DeviceArray& array) {
        return std::string(name_of(array.type));
      });

  py::class_<PixelView>(
      module,
      "PixelView",
      "An (height, width, 3) uint8 RGB image in a device's memory; strides in bytes."
  )
      .def(
          py::init([](std::uintptr_t address,
                      std::int64_t height,
                      std::int64_t width,
                      const std::array<std::int64_t, 3>& strides) {
            return PixelView{at(address), width, height, strides[0], strides[1], strides[2]};
          }),
          py::arg("address"),
          py::arg("height"),
          py::arg("width"),
          py::arg("strides")
      )
      .def_property_readonly(
          "address",
          [](const PixelView& view) { return reinterpret_cast<std::uintptr_t>(view.data); }
      )
      .def_readonly("height", &PixelView::height)
      .def_readonly("width", &PixelView::width)
      .def_property_readonly("strides", [](const PixelView& view) {
        return py::make_tuple(view.row_stride, view.pixel_stride, view.channel_stride);
      });

  py::class_<DeviceCounts>(module, "DeviceCounts", "What a device was asked for so far.")
      .def_readonly("synchronisations", &DeviceCounts::synchronisations)
      .def_readonly("launches", &DeviceCounts::launches)
      .def_readonly("captures", &DeviceCounts::captures)
      .def_readonly("replays", &DeviceCounts::replays)
      .def_readonly("allocations", &DeviceCounts::allocations)
      .def_readonly("bytes", &DeviceCounts::bytes);

  py::class_<Device, py::smart_holder>(
      module, "Device", "Memory and a queue of work; see cpp/include/edgepose/device.hpp."
  )
      .def_property_readonly("counts", [](const Device& device) { return device.counts(); })
      .def("synchronise", &Device::synchronise, py::call_guard<py::gil_scoped_release>())
      .def(
          "warp",
          &warp,
          py::arg("frame"),
          py::arg("inverse"),
          py::arg("mean"),
          py::arg("std"),
          py::arg("target"),
          "Cuts a square out, bilinear, black outside, normalised, into (1, 3, size, size). "
          "inverse: "
          "crop pixels to frame pixels, six numbers row by row."
      )
      .def(
          "remap",
          &remap,
          py::arg("frame"),
          py::arg("map"),
          py::arg("target"),
          "Each pixel of a contiguous image from where a map says, bilinear, black outside. map: "
          "address of float32 (2, height, width), x and y in the frame."
      )
      .def(
          "resample",
          &resample,
          py::arg("frame"),
          py::arg("vertical"),
          py::arg("first"),
          py::arg("weights"),
          py::arg("taps"),
          py::arg("target"),
          "One axis of Pillow's resampling into a contiguous image. first, weights: addresses of "
          "int32 "
          "(length of the axis) and (length, taps) in units of 2^-22."
      )
      .def(
          "cut_patches",
          &cut_patches,
          py::arg("frame"),
          py::arg("patch"),
          py::arg("merge"),
          py::arg("levels"),
          py::arg("target"),
          "Normalised patches as edgepose.patches.patchify makes them. levels: address of float32 "
          "(256, 3)."
      );

  py::class_<HostDevice, Device, py::smart_holder>(
      module, "HostDevice", "A device in host memory, on which kernels run in loops: for tests."
  )
      .def(py::init<>());

  py::class_<DeviceDecoder, DecoderLoop>(
      module,
      "DeviceDecoder",
      "The decoder loop over graphs that run on a device's memory, with caches, logits and choices "
      "there."
  )
      .def(
          py::init([](std::shared_ptr<Device> device,
                      std::shared_ptr<Graphs> graphs,
                      const DecoderDims& dims,
                      const py::array& embeddings,
                      const std::vector<std::int32_t>& answer_head,
                      TokenLists alphabets,
                      std::int64_t least_slots,
                      std::int64_t most_slots,
                      std::int64_t most_questions,
                      bool capture) {
            return std::make_unique<DeviceDecoder>(
                std::move(device),
                std::move(graphs),
                dims,
                embeddings,
                answer_head,
                std::move(alphabets),
                DeviceOptions{
                    .least_slots = least_slots,
                    .most_slots = most_slots,
                    .most_questions = most_questions,
                    .capture = capture
                }
            );
          }),
          py::arg("device").none(false),
          py::arg("graphs").none(false),
          py::arg("dims"),
          py::arg("embeddings"),
          py::arg("answer_head"),
          py::arg("alphabets"),
          py::kw_only(),
          py::arg("least_slots") = 0,
          py::arg("most_slots") = 0,
          py::arg("most_questions") = 0,
          py::arg("capture") = true,
          "Like HostDecoder; the embeddings are copied to the device. least_slots: of a cache "
          "segment, 1 where graphs take none of length 0. most_slots, most_questions: what graphs "
          "take, 0 for any; more questions are answered in groups. capture: each shape once, to be "
          "replayed from then on."
      )
      .def_property_readonly(
          "captures", &DeviceDecoder::captures, "Shapes that are replayed when they come again."
      );
}

}  // namespace edgepose::python
