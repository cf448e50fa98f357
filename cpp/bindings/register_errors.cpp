// SPDX-License-Identifier: Apache-2.0
#include "edgepose/error.hpp"
#include "module.hpp"

#include <string>

namespace edgepose::python {

namespace py = pybind11;

namespace {

// Makes `edgepose.errors.<name>` with these bases and translates `CppError` to it.
template <typename CppError>
py::object register_error(
    py::module_& module, const char* name, const py::tuple& bases, const char* doc
) {
  const std::string qualified = std::string("edgepose.errors.") + name;
  PyObject* type = PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), nullptr);
  if (type == nullptr) throw py::error_already_set();
  auto owned = py::reinterpret_steal<py::object>(type);
  module.attr(name) = owned;
  // The module keeps the type alive for as long as the translator can run.
  static PyObject* registered = nullptr;
  registered = type;
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const CppError& error) {
      PyErr_SetString(registered, error.what());
    }
  });
  return owned;
}

// Exists for the test that throws every error once.
template <typename CppError>
[[noreturn]] void throw_error(const std::string& text) {
  throw CppError(text);
}

}  // namespace

void register_errors(py::module_& module) {
  // pybind11 asks the newest translator first, so the base is registered before all others.
  const py::object base = register_error<Error>(
      module,
      "EdgePoseError",
      py::make_tuple(py::handle(PyExc_Exception)),
      "Base of all errors of edgepose."
  );
  py::dict throwers;
  throwers["EdgePoseError"] = py::cpp_function(&throw_error<Error>);
#define EDGEPOSE_ERROR(Name, PythonName, PythonBase, When)                            \
  register_error<Name>(                                                               \
      module, #PythonName, py::make_tuple(base, py::handle(PyExc_##PythonBase)), When \
  );                                                                                  \
  throwers[#PythonName] = py::cpp_function(&throw_error<Name>);
#include "edgepose/errors.def"
#undef EDGEPOSE_ERROR
  module.attr("_throw") = throwers;
}

}  // namespace edgepose::python
