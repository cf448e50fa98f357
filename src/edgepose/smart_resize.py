# SPDX-License-Identifier: Apache-2.0
"""The size to which a vision encoder of the Qwen-VL kind resizes an image.

Resizing itself does not belong here: see `edgepose.frame`.
"""

from __future__ import annotations

import math

from edgepose.errors import InvalidInputError

__all__ = ["smart_resize"]

_WIDEST_ASPECT = 200


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size to which a vision encoder of the Qwen-VL kind resizes an image of any size.

    Each side is rounded to a multiple of `factor`, halves to the even multiple. Where that has too many
    pixels the image is scaled to `max_pixels` and the sides are rounded down, but not to 0; where it has
    too few, to `min_pixels` and up. So a long, narrow image may keep more than `max_pixels`.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        factor: side of the square that becomes one image token, pixels.
        min_pixels: fewest pixels of the result.
        max_pixels: most pixels of the result.

    Returns:
        (height, width), pixels.

    Raises:
        InvalidInputError: a size is not above 0, one side is more than 200 times the other, or the limits
            allow nothing.

    Source:
        transformers, the Qwen2-VL image processor: `smart_resize`.
    """
    if height < 1 or width < 1:
        raise InvalidInputError(
            f"[frame] expected an image of at least 1x1 px; got {width}x{height} px; check where it came from"
        )
    if factor < 1 or not 1 <= min_pixels <= max_pixels:
        raise InvalidInputError(
            "[frame] expected a factor of at least 1 and 1 <= min_pixels <= max_pixels; got factor "
            f"{factor}, min_pixels {min_pixels}, max_pixels {max_pixels}; take them from the model's image "
            "processor"
        )
    if max(height, width) / min(height, width) > _WIDEST_ASPECT:
        raise InvalidInputError(
            f"[frame] expected an image whose sides differ at most {_WIDEST_ASPECT} times; got "
            f"{width}x{height} px; cut out the part that shows people"
        )
    rounded_height = round(height / factor) * factor
    rounded_width = round(width / factor) * factor
    if rounded_height * rounded_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rounded_height = max(factor, math.floor(height / shrink / factor) * factor)
        rounded_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif rounded_height * rounded_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rounded_height = math.ceil(height * grow / factor) * factor
        rounded_width = math.ceil(width * grow / factor) * factor
    return rounded_height, rounded_width
