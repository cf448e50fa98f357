// SPDX-License-Identifier: Apache-2.0
// The extension that holds everything of edgepose that needs CUDA's runtime library.
#include "cuda_device.hpp"

#include <pybind11/pybind11.h>

#include <cstdint>

namespace py = pybind11;

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "A GPU as a device of the C++ core. Built where nvcc was found.";
  py::module_::import("edgepose._core");  // Device and the errors are registered there

  using edgepose::CudaDevice;
  using edgepose::GpuTraits;

  py::class_<GpuTraits>(module, "GpuTraits", "What a GPU is.")
      .def_readonly("name", &GpuTraits::name)
      .def_readonly("major", &GpuTraits::major)
      .def_readonly("minor", &GpuTraits::minor)
      .def_readonly("multiprocessors", &GpuTraits::multiprocessors)
      .def_readonly("integrated", &GpuTraits::integrated)
      .def_readonly("total_bytes", &GpuTraits::total_bytes)
      .def_readonly("driver_version", &GpuTraits::driver_version)
      .def_readonly("runtime_version", &GpuTraits::runtime_version);

  py::class_<CudaDevice, edgepose::Device, py::smart_holder>(
      module, "CudaDevice", "One stream of one GPU, with kernels and captures."
  )
      .def(py::init<int>(), py::arg("number") = 0)
      .def_property_readonly("traits", &CudaDevice::traits)
      .def_property_readonly("free_bytes", &CudaDevice::free_bytes)
      .def_property_readonly(
          "stream",
          [](const CudaDevice& device) {
            return reinterpret_cast<std::uintptr_t>(device.stream());
          },
          "The stream's handle, as other libraries take it."
      );
}
