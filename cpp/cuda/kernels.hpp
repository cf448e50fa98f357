// SPDX-License-Identifier: Apache-2.0
// What this is: the kernels' bodies as GPU kernels.
#pragma once

#include "edgepose/device.hpp"

#include <cuda_runtime_api.h>

namespace edgepose {

// Puts a kernel into `stream`; the error, if any, is CUDA's last one.
void launch_on_gpu(const Kernel& kernel, cudaStream_t stream);

}  // namespace edgepose
