# SPDX-License-Identifier: Apache-2.0
"""From light to pixels as a camera stores them: blur, exposure, white balance, gamma, noise, eight bits.

Geometry does not belong here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepose.training.rendering.draws import Draws

__all__ = ["expose"]

_REACH = 3
"""Pixels to each side that blur mixes."""


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """`(B, 3, H, W)` with a Gaussian blur of `(B, 2)` pixels across and down."""
    count, _, height, width = images.shape
    steps = torch.arange(-_REACH, _REACH + 1, device=images.device, dtype=images.dtype)
    kernel = (-(steps**2) / (2 * sigma[..., None] ** 2)).exp()
    kernel = kernel / kernel.sum(-1, keepdim=True)  # (B, 2, 7)
    flat = images.reshape(1, count * 3, height, width)
    across, down = kernel.repeat_interleave(3, dim=0).unbind(1)
    padded = F.pad(flat, (_REACH, _REACH, 0, 0), mode="replicate")
    flat = F.conv2d(padded, across[:, None, None, :], groups=count * 3)
    padded = F.pad(flat, (0, 0, _REACH, _REACH), mode="replicate")
    flat = F.conv2d(padded, down[:, None, :, None], groups=count * 3)
    return flat.reshape(count, 3, height, width)


def expose(draws: Draws, light: Tensor, seen: Tensor | None = None, *, grain: int = 0) -> Tensor:
    """Pictures of the light.

    Args:
        draws: where random numbers come from; the noise of single pixels is drawn on `light`'s device.
        light: `(B, H, W, 3)` float32, about 0 to 1.
        seen: `(B, H, W)` bool: pixels that lie within the camera's image; the others are black.
        grain: another number gives other noise to the same picture.

    Returns:
        `(B, H, W, 3)` uint8 RGB.
    """
    count = len(light)
    sharp = draws.log_uniform((count, 1), (0.42, 1.7))
    images = _blurred(light.permute(0, 3, 1, 2), sharp * draws.uniform((count, 2), (0.8, 1.25)))

    def per_image(values: Tensor) -> Tensor:
        return values.reshape(count, -1, 1, 1)

    # Automatic exposure, as far off as cameras are.
    inside = torch.ones(count, 1, 1, 1, device=light.device) if seen is None else seen[:, None].float()
    brightness = (images * inside).mean((1, 2, 3)) / inside.mean((1, 2, 3)).clamp(min=1e-3)
    gain = (0.36 / brightness.clamp(min=1e-2)).clamp(0.5, 3.0) ** 0.7
    gain = gain[:, None] * (1 + draws.normal((count, 1), 0.18)).clamp(min=0.4)
    images = images * per_image(gain * (1 + draws.normal((count, 3), 0.06)))
    grey = images.mean(1, keepdim=True)
    saturation = torch.where(
        draws.chance((count,), 0.04),
        torch.zeros(count, device=light.device),
        draws.uniform((count,), (0.5, 1.35)),
    )
    images = grey + (images - grey) * per_image(saturation)
    images = images.clamp(1e-4, 1.0) ** per_image(draws.log_uniform((count,), (0.5, 1.12)))
    contrast = per_image(draws.uniform((count,), (0.75, 1.25)))
    images = (images - 0.45) * contrast + 0.45 + per_image(draws.normal((count,), 0.05))

    seed = int(torch.randint(2**31, (1,), generator=draws.generator, device="cpu")) + grain
    pixels = torch.Generator(device=light.device)
    pixels.manual_seed(seed)
    noise = torch.randn(images.shape, generator=pixels, device=light.device)
    images = images + noise * per_image(draws.uniform((count,)) ** 3 * 0.05)
    stored = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    if seen is not None:
        stored = stored * seen[..., None]
    return stored.contiguous()
