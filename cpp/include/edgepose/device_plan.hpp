// SPDX-License-Identifier: Apache-2.0
// What this is: what the host tells the device about one pass. Kernels take everything that may
// differ between two passes of one shape from here, so that a captured pass can be replayed.
// Contract: plain data, in device memory at a fixed address, written before each pass.
#pragma once

#include <cstdint>

namespace edgepose {

// One token of a pass: what it is, where it stands, what it sees.
struct PlanCell {
  std::int32_t feed = 0;       // see Feed; without meaning for an image row
  std::int32_t image = -1;     // row of the image embeddings, -1 for a token
  std::int32_t time = 0;       // its position
  std::int32_t row = 0;        //
  std::int32_t column = 0;     //
  std::int32_t visible = 0;    // slots of the suffix segment that it sees, from the first on
  std::int32_t first = 0;      // new tokens of its row that it sees: from this one up to itself
  std::int32_t question = -1;  // -1 for padding and for the prefix
  std::int32_t slot = -1;      // of the question, where its keys and values are kept
  std::int32_t real = 0;       // 0 for padding
};

// What is looked for in one row of logits.
struct PlanLook {
  std::int32_t alphabet = -1;     // -1: nobody looks here
  std::int32_t choice = 0;        // where the outcome goes
  std::int32_t question = 0;      // whose history counts
  std::int32_t seen = 0;          // tokens of that history; 0 where nothing is penalised
  std::int32_t first_banned = 0;  // tokens not to choose
  std::int32_t banned = 0;
};

struct PlanNumbers {
  float penalty = 1;
  std::int32_t reserved = 0;
};

}  // namespace edgepose
