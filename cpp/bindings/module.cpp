// SPDX-License-Identifier: Apache-2.0
#include "module.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ core of edgepose: caches, grammar, codecs and the decoder loop.";
  edgepose::python::register_errors(module);
  edgepose::python::register_graphs(module);
  edgepose::python::register_codec(module);
  edgepose::python::register_block_codec(module);
  edgepose::python::register_decoder(module);
  edgepose::python::register_device(module);
}
