// SPDX-License-Identifier: Apache-2.0
// What this is: a world whose decoder has its memory on a device; the host device proves it.
#pragma once

#include "edgepose/device_backend.hpp"
#include "edgepose/host_device.hpp"
#include "fake_world.hpp"

#include <cstdint>

namespace edgepose::testing {

struct DeviceWorld : FakeWorld {
  explicit DeviceWorld(
      Behaviour behaviour = Behaviour::follows_form,
      DataType type = DataType::float32,
      DeviceOptions options = {.least_slots = 1}
  )
      : FakeWorld(behaviour, type),
        device_graphs(model, dims, answer_tokens()),
        on_device(
            device,
            device_graphs,
            dims,
            embeddings.data(),
            codec.alphabets(),
            answer_tokens(),
            options
        ),
        device_decoder(on_device) {}

  Decoding decode_on_device(
      const Asked& asked, const DecodeOptions& options, std::span<const Guess> drafts = {}
  ) {
    Prompt prompt = asked.prompt();
    prompt.drafts = drafts;
    return device_decoder.decode(model.form, prompt, options);
  }

  HostDevice device;
  FakeGraphs device_graphs;
  DeviceBackend on_device;
  Decoder device_decoder;
};

}  // namespace edgepose::testing
