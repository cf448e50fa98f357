# SPDX-License-Identifier: Apache-2.0
"""Frames as the model sees them, and where their joints are in shares of the answer's ranges.

Everything here goes through the runtime's own preprocessing. Rendering and storing frames do not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgepose.bundle import BinCodecSpec, FrameSpec
from edgepose.frame import FocalFrame
from edgepose.patches import grid_positions, grid_rope
from edgepose.skeleton import SMPL22

__all__ = [
    "Frames",
    "GridPlaces",
    "Rendered",
    "cut_out",
    "grid_places",
    "mirrored",
    "patches_of",
    "seen_frames",
]

_SWAPPED = [
    SMPL22.keypoints.index(dict([*SMPL22.pairs, *(pair[::-1] for pair in SMPL22.pairs)]).get(name, name))
    for name in SMPL22.keypoints
]


class Rendered(Protocol):
    """Frames of one size with what is known of them, as `edgepose.training.rendering` makes them."""

    @property
    def images(self) -> Tensor:
        """(B, H, W, 3) uint8 RGB."""
        ...

    @property
    def xy(self) -> Tensor:
        """(B, 22, 2) pixels, pixel centres at integers."""
        ...

    @property
    def xyz(self) -> Tensor:
        """(B, 22, 3) metres, camera frame: x right, y down, z forward."""
        ...

    @property
    def visible(self) -> Tensor:
        """(B, 22) int8: 0 outside of the frame, 1 hidden, 2 visible."""
        ...

    @property
    def boxes(self) -> Tensor:
        """(B, 4) x, y, width, height of the person, pixels, the corner of the first pixel being (0, 0)."""
        ...

    @property
    def focal(self) -> Tensor:
        """(B,) pixels."""
        ...

    @property
    def principal(self) -> Tensor:
        """(B, 2) pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one model size, each with one person; joints in the order of `SMPL22`."""

    pixels: Tensor
    """(B, h, w, 3) uint8 RGB, as `FocalFrame.apply` makes them."""
    box: Tensor
    """(B, 4) float32, x0, y0, x1, y1, shares of the frame within 0 to 1."""
    xy: Tensor
    """(B, 22, 2) float32, shares of the frame."""
    xyz: Tensor
    """(B, 22, 3) float32, shares of the codec's ranges, in the coordinates that the model answers in."""
    visible: Tensor
    """(B, 22) int8, as rendered."""
    lean: Tensor
    """(B, 2) float32: metres by which X and Y in the camera's coordinates fall short of the model's, for each
    metre of depth; 0 where the principal point is the frame's middle."""

    size: Tensor
    """(B, 2) float32, width and height of the frame before it was rounded to the model's size, pixels at the
    canonical focal length."""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, places: Tensor | slice) -> Frames:
        return Frames(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

    @property
    def usable(self) -> Tensor:
        """(B, 22) bool: whether a joint can be answered, inside of the image and of the codec's ranges.

        The first and the last bin also stand for all that lies beyond, so they do not count.
        """
        inside = ((self.xyz > 0) & (self.xyz < 1)).all(-1) & ((self.xy >= 0) & (self.xy <= 1)).all(-1)
        return inside & (self.visible > 0)

    def to_camera(self, xyz: Tensor, codec: BinCodecSpec) -> Tensor:
        """Shares of the ranges as metres in the camera's coordinates.

        Args:
            xyz: (B, N, 3) shares.
            codec: Has the ranges.

        Returns:
            (B, N, 3), x right, y down, z forward.
        """
        low, span = _ranges(codec, xyz.device)
        metres = low + xyz * span
        across = metres[..., :2] - self.lean[:, None].to(xyz.device) * metres[..., 2:]
        return torch.cat((across, metres[..., 2:]), dim=-1)

    @staticmethod
    def joined(some: Sequence[Frames]) -> Frames:
        """Frames of one size, one behind the other."""
        return Frames(
            **{
                field.name: torch.cat([getattr(each, field.name) for each in some])
                for field in fields(Frames)
            }
        )


def seen_frames(rendered: Rendered, view: FrameSpec, codec: BinCodecSpec) -> Frames:
    """Frames as the runtime would show them to the model.

    Frames that were rendered at the canonical focal length are the quick way: they are only rounded to the
    model's size. Pixel centres at integers become corners at integers, as the runtime counts.

    Args:
        rendered: Frames of one focal length; hundredths of a pixel count.
        view: How the model sees.
        codec: What it answers.
    """
    count, height, width = rendered.images.shape[:3]
    # Single precision would drop a pixel of the scaled size.
    (focal,) = {round(focal, 2) for focal in rendered.focal.tolist()}
    pixels, xy, xyz, boxes, leans, sizes = [], [], [], [], [], []
    low, span = _ranges(codec, torch.device("cpu"))
    images = rendered.images.cpu().numpy()
    for index in range(count):
        x, y = (rendered.principal[index].to(torch.float64) + 0.5).tolist()
        frame = FocalFrame(
            (width, height),
            focal,
            (x, y),
            canonical_focal=view.canonical_focal,
            crop=view.crop,
            factor=view.factor,
            min_pixels=view.min_pixels,
            max_pixels=view.max_pixels,
        )
        pixels.append(frame.apply(np.ascontiguousarray(images[index])))
        size = np.array(frame.crop_size, dtype=np.float64)
        xy.append(frame.to_frame(rendered.xy[index].double().cpu().numpy() + 0.5) / size)
        left, top, across, down = rendered.boxes[index].tolist()
        corners = np.array([[left, top], [left + across, top + down]])
        boxes.append(np.clip(frame.to_frame(corners) / size, 0, 1).reshape(4))
        xyz.append(frame.to_model(rendered.xyz[index].double().cpu().numpy()))
        leans.append(np.array(frame.principal_offset) / frame.canonical_focal)
        sizes.append(size)
    return Frames(
        pixels=torch.from_numpy(np.stack(pixels)),
        box=_float(boxes),
        xy=_float(xy),
        xyz=(_float(xyz) - low) / span,
        visible=rendered.visible.to("cpu", torch.int8),
        lean=_float(leans),
        size=_float(sizes),
    )


def mirrored(frames: Frames) -> Frames:
    """The same frames in a mirror: left and right change places."""
    x0, y0, x1, y1 = frames.box.unbind(-1)

    def flip(shares: Tensor) -> Tensor:
        return torch.cat((1 - shares[..., :1], shares[..., 1:]), dim=-1)[:, _SWAPPED]

    return Frames(
        pixels=frames.pixels.flip(2),
        box=torch.stack((1 - x1, y0, 1 - x0, y1), dim=-1),
        xy=flip(frames.xy),
        xyz=flip(frames.xyz),
        visible=frames.visible[:, _SWAPPED],
        lean=frames.lean * torch.tensor([-1.0, 1.0]),
        size=frames.size,
    )


def cut_out(
    frames: Frames, height: int, width: int, view: FrameSpec, codec: BinCodecSpec, generator: torch.Generator
) -> Frames:
    """Windows of frames, each about its person: frames of cameras whose sensors are smaller and shifted.

    What a model answers has the middle of its frame straight ahead, so places in space move with the window.

    Args:
        frames: Of one size.
        height: Of the windows, pixels of the model's input; at most that of the frames, as the width.
        width: Likewise.
        view: How the model sees.
        codec: Has the ranges.
        generator: Chooses where in the frames, within a quarter of the window from the person's middle.
    """
    whole = torch.tensor([frames.pixels.shape[2], frames.pixels.shape[1]])
    window = torch.tensor([width, height])
    middle = (frames.box[:, :2] + frames.box[:, 2:]) / 2 * whole
    wanted = middle - window / 2 + (torch.rand(len(frames), 2, generator=generator) - 0.5) * window / 2
    corner = wanted.round().long().clamp(min=0).minimum(whole - window)
    parts = [
        pixels[y : y + height, x : x + width]
        for pixels, (x, y) in zip(frames.pixels, corner.tolist(), strict=True)
    ]
    moved = (corner + window / 2 - whole / 2) / whole * frames.size / view.canonical_focal
    _, span = _ranges(codec, torch.device("cpu"))
    depth = codec.z[0] + frames.xyz[..., 2:] * span[2]
    across = frames.xyz[..., :2] - moved[:, None] * depth / span[:2]
    ends = (frames.box.view(-1, 2, 2) * whole - corner[:, None]) / window
    return Frames(
        pixels=torch.stack(parts),
        box=ends.clamp(0, 1).view(-1, 4),
        xy=(frames.xy * whole - corner[:, None]) / window,
        xyz=torch.cat((across, frames.xyz[..., 2:]), dim=-1),
        visible=frames.visible,
        lean=frames.lean - moved,
        size=frames.size * window / whole,
    )


def patches_of(pixels: Tensor, view: FrameSpec, *, levels: Tensor | None = None) -> Tensor:
    """What `edgepose.patches.patchify` makes of each of several frames.

    Args:
        pixels: (B, h, w, 3) uint8.
        view: Patch size and normalisation.
        levels: (B, 3, 256) float32, what each value of each channel becomes; default: the normalised value.

    Returns:
        (B, P, 3 * patch_size * patch_size) float32.
    """
    count, height, width, _ = pixels.shape
    size, merge = view.patch_size, view.merge
    if levels is None:
        levels = normal_levels(view, pixels.device).expand(count, 3, 256)
    values = pixels.permute(0, 3, 1, 2).flatten(2).long()
    shown = levels.gather(2, values).view(count, 3, height, width)
    cut = shown.view(count, 3, height // size // merge, merge, size, width // size // merge, merge, size)
    return cut.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count, -1, 3 * size * size)


def normal_levels(view: FrameSpec, device: torch.device) -> Tensor:
    """(3, 256) float32: what the image processor makes of each value of each channel."""
    values = (torch.arange(256, dtype=torch.float64, device=device) * (1 / 255)).float()
    mean, std = (torch.tensor(each, device=device)[:, None] for each in (view.mean, view.std))
    return (values - mean) / std


@dataclass(frozen=True, slots=True)
class GridPlaces:
    """Where the patches of a frame are, as the vision encoder takes it."""

    rows: int
    """Of merged squares."""
    columns: int
    indices: Tensor
    """(4, P) int64."""
    weights: Tensor
    """(4, P) float32."""
    cos: Tensor
    """(P, head_dim) float32."""
    sin: Tensor


def grid_places(
    height: int, width: int, view: FrameSpec, *, table_side: int, head_dim: int, theta: float
) -> GridPlaces:
    """Places of the patches of a frame of (height, width) pixels, with the runtime's functions."""
    rows, columns = height // view.patch_size, width // view.patch_size
    indices, weights = grid_positions(rows, columns, merge=view.merge, table_side=table_side)
    cos, sin = grid_rope(rows, columns, merge=view.merge, head_dim=head_dim, theta=theta)
    return GridPlaces(
        rows // view.merge,
        columns // view.merge,
        *(torch.from_numpy(each) for each in (indices, weights, cos, sin)),
    )


def _ranges(codec: BinCodecSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lowest numbers and extents of x, y and z, (3,) each, metres."""
    ends = torch.tensor([codec.x, codec.y, codec.z], dtype=torch.float32, device=device)
    return ends[:, 0], ends[:, 1] - ends[:, 0]


def _float(arrays: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).float()
