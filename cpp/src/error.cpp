// SPDX-License-Identifier: Apache-2.0
#include "edgepose/error.hpp"

namespace edgepose {

void internal_error(const char* where, const std::string& what) {
  throw Error(message("[", where, "] ", what, "; this is a defect of edgepose, please report it"));
}

}  // namespace edgepose
