// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <algorithm>
#include <cstdint>
#include <cuda_runtime.h>

namespace edgepose {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = std::int64_t{1} << 16;

// A thread an index, and further ones where there are more indices than threads.
template <typename Each>
__global__ void at_each(const Each kernel) {
  const std::int64_t count = kernel.count();
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; index < count;
       index += stride) {
    kernel(index);
  }
}

// The threads of a block, as the lanes of a group. The tree is that of LoopGroup.
struct BlockGroup {
  std::byte* shared;  // (kThreads) of the largest part

  EDGEPOSE_PORTABLE static constexpr std::int32_t size() noexcept { return kThreads; }

  EDGEPOSE_PORTABLE bool leads() const noexcept {
#if defined(__CUDA_ARCH__)
    return threadIdx.x == 0;
#else
    return true;
#endif
  }

  template <typename Part, typename PartOf, typename Merge>
  EDGEPOSE_PORTABLE Part reduce(const PartOf& part_of, const Merge& merge) const {
#if defined(__CUDA_ARCH__)
    Part* parts = reinterpret_cast<Part*>(shared);
    const auto lane = static_cast<std::int32_t>(threadIdx.x);
    parts[lane] = part_of(lane);
    __syncthreads();
    for (std::int32_t stride = kThreads / 2; stride > 0; stride /= 2) {
      if (lane < stride) parts[lane] = merge(parts[lane], parts[lane + stride]);
      __syncthreads();
    }
    const Part whole = parts[0];
    __syncthreads();
    return whole;
#else
    return merge(part_of(0), part_of(0));
#endif
  }
};

constexpr std::size_t kLargestPart = std::max(sizeof(BestLogit), sizeof(Moments));

__global__ void at_each_group(const ChooseKernel kernel) {
  alignas(16) __shared__ std::byte shared[kThreads * kLargestPart];
  kernel(blockIdx.x, BlockGroup{shared});
}

template <typename Each>
void launch(const Each& kernel, cudaStream_t stream) {
  const std::int64_t count = kernel.count();
  if (count == 0) return;
  const auto blocks =
      static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMostBlocks));
  at_each<<<blocks, kThreads, 0, stream>>>(kernel);
}

void launch(const ChooseKernel& kernel, cudaStream_t stream) {
  if (kernel.groups() == 0) return;
  at_each_group<<<static_cast<unsigned>(kernel.groups()), kThreads, 0, stream>>>(kernel);
}

}  // namespace

void launch_on_gpu(const Kernel& kernel, cudaStream_t stream) {
  std::visit([stream](const auto& each) { launch(each, stream); }, kernel);
}

}  // namespace edgepose
