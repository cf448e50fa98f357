// SPDX-License-Identifier: Apache-2.0
// What this is: the table of contents of the extension module.
#pragma once

#include <pybind11/pybind11.h>

namespace edgepose::python {

void register_errors(pybind11::module_& module);
void register_graphs(pybind11::module_& module);
void register_codec(pybind11::module_& module);
void register_block_codec(pybind11::module_& module);
void register_decoder(pybind11::module_& module);
void register_device(pybind11::module_& module);

}  // namespace edgepose::python
