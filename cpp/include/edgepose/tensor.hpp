// SPDX-License-Identifier: Apache-2.0
// What this is: host memory with a shape. `Buffer` owns, `TensorView` names and looks.
// Contract: row-major, contiguous; 64-byte aligned when owned by a Buffer. A view must not outlive
// its memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace edgepose {

enum class DataType : std::uint8_t { float32, float16, int64 };

// Bytes of one element.
std::size_t size_of(DataType type) noexcept;

// NumPy's name of the type.
const char* name_of(DataType type) noexcept;

// A named tensor of a graph: input or output, at memory that someone else owns.
struct TensorView {
  std::string name;
  DataType type = DataType::float32;
  std::vector<std::int64_t> shape;
  void* data = nullptr;
};

// Zero-initialised, 64-byte aligned host memory. Move-only; growing it discards the contents.
class Buffer {
 public:
  Buffer() = default;

  // Makes room for `bytes`; true when the memory moved, so that bindings to it are void.
  bool reserve(std::size_t bytes);

  // Overwrites everything with zeros.
  void erase() noexcept;

  std::byte* data() noexcept { return memory_.get(); }
  const std::byte* data() const noexcept { return memory_.get(); }
  std::size_t capacity() const noexcept { return capacity_; }

  template <typename T>
  T* as() noexcept {
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace edgepose
