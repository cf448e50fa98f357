// SPDX-License-Identifier: Apache-2.0
#include "edgepose/positions.hpp"

#include "edgepose/error.hpp"

#include <algorithm>
#include <cstddef>

namespace edgepose {

std::int64_t place_tokens(
    std::span<const std::int32_t> tokens,
    const std::optional<ImageGrid>& grid,
    std::vector<Position>& positions
) {
  const std::int64_t count = std::ssize(tokens);
  std::int64_t first = count;  // image row
  std::int64_t behind = count;
  if (grid) {
    const auto found = std::find(tokens.begin(), tokens.end(), kImageToken);
    const auto after =
        std::find_if(found, tokens.end(), [](std::int32_t token) { return token != kImageToken; });
    first = found - tokens.begin();
    behind = after - tokens.begin();
    const std::int64_t all = std::count(tokens.begin(), tokens.end(), kImageToken);
    EDGEPOSE_CHECK(
        grid->rows > 0 && grid->columns > 0 && all / grid->rows == grid->columns &&
            all % grid->rows == 0,
        InvalidInput,
        "[image grid] rows and columns of the prefix's ",
        all,
        " image rows; got ",
        grid->rows,
        " x ",
        grid->columns
    );
    EDGEPOSE_CHECK(
        behind - first == all,
        InvalidInput,
        "[image grid] one image in the prefix, its rows one behind the other; got ",
        behind - first,
        " rows, then other tokens, then further rows"
    );
  }
  positions.resize(tokens.size());
  std::int64_t next = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    Position& position = positions[static_cast<std::size_t>(k)];
    if (k < first || k >= behind) {
      position = {next, next, next};
      ++next;
      continue;
    }
    const std::int64_t cell = k - first;
    position = {next, next + cell / grid->columns, next + cell % grid->columns};
    if (k + 1 == behind) next += std::max(grid->rows, grid->columns);
  }
  return next;
}

}  // namespace edgepose
