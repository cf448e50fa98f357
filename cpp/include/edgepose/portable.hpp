// SPDX-License-Identifier: Apache-2.0
// What this is: the mark of functions that are compiled for the host and, by nvcc, for the GPU too.
// Contract: such functions are inline, allocate nothing and call nothing but each other.
#pragma once

#if defined(__CUDACC__)
#define EDGEPOSE_PORTABLE __host__ __device__
#else
#define EDGEPOSE_PORTABLE
#endif
