// SPDX-License-Identifier: Apache-2.0
// What this is: host memory that uploads are made from, until the device is known to have read it.
// Contract: a piece stays as it is until `clear`, which comes after a synchronisation.
#pragma once

#include "edgepose/device.hpp"

#include <cstddef>
#include <vector>

namespace edgepose {

class Staging {
 public:
  explicit Staging(Device& device) : device_(&device) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Memory for `bytes`, aligned to 64. Allocates while pieces since the last `clear` outgrow it.
  std::byte* piece(std::size_t bytes);

  void clear() noexcept;

 private:
  struct Block {
    std::byte* memory = nullptr;
    std::size_t size = 0;
  };

  Device* device_;
  std::vector<Block> blocks_;
  std::size_t block_ = 0;  // the one in use
  std::size_t used_ = 0;   // bytes of it
};

}  // namespace edgepose
