// SPDX-License-Identifier: Apache-2.0
#include "edgepose/graphs.hpp"
#include "module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <vector>

namespace edgepose::python {

namespace py = pybind11;

namespace {

// Lets a Python class execute graphs. Called from the decoder loop, which runs without the GIL.
class PyGraphs : public Graphs, public py::trampoline_self_life_support {
 public:
  std::int64_t bind(
      const std::string& graph,
      std::span<const TensorView> inputs,
      std::span<const TensorView> outputs
  ) override {
    const py::gil_scoped_acquire gil;
    return override("bind")(
               graph,
               std::vector<TensorView>(inputs.begin(), inputs.end()),
               std::vector<TensorView>(outputs.begin(), outputs.end())
    )
        .cast<std::int64_t>();
  }

  void run(std::int64_t handle) override {
    const py::gil_scoped_acquire gil;
    override("run")(handle);
  }

  void passed(std::int64_t handle) override {
    const py::gil_scoped_acquire gil;
    const py::function method = py::get_override(static_cast<const Graphs*>(this), "passed");
    if (method) method(handle);
  }

  void release() override {
    const py::gil_scoped_acquire gil;
    override("release")();
  }

 private:
  py::function override(const char* name) const {
    py::function method = py::get_override(static_cast<const Graphs*>(this), name);
    if (!method) throw py::type_error(std::string("Graphs needs a method ") + name);
    return method;
  }
};

// The memory itself, not a copy.
py::array as_array(const TensorView& view) {
  const py::capsule nobody(view.data, [](void*) {});
  return {py::dtype(name_of(view.type)), view.shape, view.data, nobody};
}

}  // namespace

void register_graphs(py::module_& module) {
  py::class_<TensorView>(module, "TensorView", "A named tensor of a graph, in memory of the core.")
      .def_readonly("name", &TensorView::name)
      .def_readonly("shape", &TensorView::shape)
      .def_property_readonly(
          "dtype", [](const TensorView& view) { return std::string(name_of(view.type)); }
      )
      .def_property_readonly(
          "address",
          [](const TensorView& view) { return reinterpret_cast<std::uintptr_t>(view.data); },
          "Of the memory, on the host or on the device that the core was given."
      )
      .def_property_readonly(
          "array",
          &as_array,
          "Host memory as a NumPy array. Valid until `Graphs.release` is called."
      );

  py::class_<Graphs, PyGraphs, py::smart_holder>(
      module,
      "Graphs",
      "Executes a bundle's graphs on host memory. Subclasses define `bind(graph, inputs, outputs) "
      "-> "
      "handle`, `run(handle)` and `release()`, and may define `passed(handle)`; see "
      "cpp/include/edgepose/graphs.hpp."
  )
      .def(py::init<>());
}

}  // namespace edgepose::python
