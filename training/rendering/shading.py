# SPDX-License-Identifier: Apache-2.0
"""Colours of the pixels that see a solid: pattern, face, light.

Which solid a pixel sees is known already; what lies behind everything is drawn in `background`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.frames_of_body import BodyFrames
from edgepose.training.rendering.landmarks import HEAD_POINTS
from edgepose.training.rendering.materials import COLUMNS, pattern
from edgepose.training.rendering.people import Looks
from edgepose.training.rendering.primitives import Boxes, Cones
from edgepose.training.rendering.solids import MATERIALS, PARTS
from edgepose.training.rendering.vectors import unit

__all__ = ["Lights", "draw_lights", "shade_solids"]


@dataclass(frozen=True, slots=True)
class Lights:
    """The light of B scenes, camera frame."""

    toward: Tensor
    """(B, 3): direction to the lamp or the sun."""
    sun: Tensor
    """(B, 3): its colour and strength."""
    sky: Tensor
    """(B, 3): light from above."""
    ground: Tensor
    """(B, 3): light from below."""
    up: Tensor
    """(B, 3): against gravity."""


def draw_lights(draws: Draws, up: Tensor) -> Lights:
    """Light from above and one direction, warm or cold, hard or soft.

    Args:
        up: `(B, 3)` against gravity, camera frame.
    """
    count = len(up)
    toward = unit(draws.normal((count, 3)) + up * 0.9 + up.new_tensor([0.0, 0.0, -0.5]))
    hard = draws.uniform((count, 1))
    tint = draws.normal((count, 1), 0.09) * up.new_tensor([1.0, 0.1, -1.0])
    sun = (0.25 + 0.75 * hard) * (1 + tint)
    sky = (0.85 - 0.5 * hard) * (1 - tint * draws.uniform((count, 1)))
    ground = sky * draws.uniform((count, 1), (0.35, 0.8)) * (1 + draws.normal((count, 3), 0.08))
    return Lights(toward, sun, sky, ground, up)


def _lit(
    lights: Lights, image: Tensor, albedo: Tensor, normal: Tensor, view: Tensor, shine: Tensor, sunlit: Tensor
) -> Tensor:
    """`(N, 3)`: colours under the light of their image."""
    height = (normal * lights.up[image]).sum(1, keepdim=True) * 0.5 + 0.5
    toward = lights.toward[image]
    facing = ((normal * toward).sum(1, keepdim=True) + 0.15).clamp(min=0) / 1.15
    light = (
        lights.ground[image] * (1 - height) + lights.sky[image] * height + lights.sun[image] * facing * sunlit
    )
    # Surfaces that turn away from the camera meet others there and lie in their shade.
    grazing = -(normal * view).sum(1, keepdim=True)
    light = light * (0.72 + 0.28 * grazing.clamp(0, 1))
    half = unit(toward - view)
    glint = (normal * half).sum(1, keepdim=True).clamp(min=0) ** 24 * shine * sunlit
    return albedo * light + glint * lights.sun[image]


def shade_solids(
    cones: Cones,
    boxes: Boxes,
    materials: Tensor,
    looks: Looks,
    frames: BodyFrames,
    heads: Tensor,
    lights: Lights,
    solid: Tensor,
    image: Tensor,
    points: Tensor,
    sunlit: Tensor,
) -> Tensor:
    """Colours of surface points.

    Args:
        cones: of the scene.
        boxes: of the scene.
        materials: rows of the table.
        looks: of the people.
        frames: of the people.
        heads: `(P, 3)`: joints `head` of the people.
        lights: of the scenes.
        solid: `(N,)`: row of the cones, then of the boxes.
        image: `(N,)`: which image.
        points: `(N, 3)`: metres, camera frame.
        sunlit: `(N, 1)`: 0 in the shadow of something, 1 elsewhere.

    Returns:
        `(N, 3)` float32, about 0 to 1.
    """
    colors = torch.zeros_like(points)
    view = unit(points)
    round_ = (solid < len(cones.image)).nonzero()[:, 0]
    if len(round_):
        colors[round_] = _shade_cones(
            cones,
            materials,
            looks,
            frames,
            heads,
            lights,
            solid[round_],
            image[round_],
            points[round_],
            view[round_],
            sunlit[round_],
        )
    flat = (solid >= len(cones.image)).nonzero()[:, 0]
    if len(flat):
        row = solid[flat] - len(cones.image)
        axes = boxes.axes[row]
        local = ((points[flat] - boxes.center[row])[:, None] @ axes)[:, 0]
        share = local / boxes.half[row]
        side = share.abs().argmax(1)
        normal = torch.gather(axes, 2, side[:, None, None].expand(-1, 3, 1))[..., 0]
        normal = normal * torch.gather(share, 1, side[:, None]).sign()
        rows = materials[boxes.material[row]]
        shine = rows[:, COLUMNS["shine"]]
        colors[flat] = _lit(
            lights, image[flat], pattern(rows, local), normal, view[flat], shine, sunlit[flat]
        )
    return colors


def _shade_cones(
    cones: Cones,
    materials: Tensor,
    looks: Looks,
    frames: BodyFrames,
    heads: Tensor,
    lights: Lights,
    solid: Tensor,
    image: Tensor,
    points: Tensor,
    view: Tensor,
    sunlit: Tensor,
) -> Tensor:
    axes, stretch = cones.axes[solid], cones.stretch[solid]
    metric = ((points - cones.origin[solid])[:, None] @ axes)[:, 0]  # metres in the solid's frame
    local = metric / stretch
    length, radii = cones.length[solid], cones.radii[solid]
    taper = radii[:, 0] - radii[:, 1]
    slant = (length**2 - taper**2).clamp(min=1e-9)
    # Where along the axis the sphere sits that touches the surface at this point.
    share = ((local[:, 1] * length - radii[:, 0] * taper) / slant).clamp(0, 1)
    normal = torch.stack([local[:, 0], local[:, 1] - share * length, local[:, 2]], 1) / stretch
    row = torch.where(metric[:, 1] < cones.cut[solid], cones.material[solid], cones.beyond[solid])
    rows = materials[row]
    part = cones.part[solid]
    trunk = (part == PARTS.index("trunk")).nonzero()[:, 0]
    owner = cones.owner[solid[trunk]]
    # One piece of cloth covers the trunk: one pattern, and a shape without the seams of the solids.
    spot = ((points[trunk] - heads[owner])[:, None] @ frames.chest[owner])[:, 0]
    metric[trunk] = spot
    albedo = pattern(rows, metric)
    shine = rows[:, COLUMNS["shine"]]
    fold = rows[:, COLUMNS["fold"]]
    ripple = (metric * 55 + metric.roll(1, 1) * 23 + rows[:, COLUMNS["phases"]]).sin()
    normal = (axes @ unit(normal)[..., None])[..., 0]
    round_ = torch.stack(
        [spot[:, 0] * 0.6, torch.zeros_like(spot[:, 0]), spot[:, 2] + 0.01 * looks.scale[owner]], 1
    )
    normal[trunk] = normal[trunk] + (frames.chest[owner] @ unit(round_)[..., None])[..., 0] * 0.8
    normal = unit(unit(normal) + fold * ripple * 0.6)
    albedo[trunk] = _front(albedo[trunk], materials, looks, row[trunk], owner, spot)
    face = (part == PARTS.index("face")).nonzero()[:, 0]
    if len(face):
        albedo[face] = _face(
            albedo[face], materials, looks, frames, cones.owner[solid[face]], heads, points[face]
        )
    return _lit(lights, image, albedo, normal, view, shine, sunlit)


def _front(
    albedo: Tensor, materials: Tensor, looks: Looks, row: Tensor, owner: Tensor, spot: Tensor
) -> Tensor:
    """Prints, open jackets and ties on the front of the trunk; `spot` from the head in the chest's frame."""
    left, up, front = (spot / looks.scale[owner, None]).unbind(1)
    kind = looks.front[owner]
    ahead = (front > -0.01) & (row % len(MATERIALS) == MATERIALS.index("top"))
    printed = (kind == 1) & (left.abs() < 0.08) & (up < -0.25) & (up > -0.42)
    jacket = (kind == 2) & (left.abs() < 0.035 + 0.05 * (up + 0.6).clamp(0, 1))
    tie = (kind == 3) & (left.abs() < 0.022) & (up > -0.55)
    accent = materials[owner * len(MATERIALS) + MATERIALS.index("accent")][:, COLUMNS["first"]]
    return torch.where((ahead & (printed | jacket | tie))[:, None], accent, albedo)


def _face(
    albedo: Tensor,
    materials: Tensor,
    looks: Looks,
    frames: BodyFrames,
    owner: Tensor,
    heads: Tensor,
    points: Tensor,
) -> Tensor:
    """Eyes, brows, mouth, beard, glasses."""
    size = (looks.scale * looks.girth[:, 3])[owner, None]
    spot = ((points - heads[owner])[:, None] @ frames.head[owner])[:, 0] / size
    left, up, front = spot.unbind(1)
    ahead = front > 0.03
    eye_left, eye_up, _ = HEAD_POINTS["left eye"]
    beside = left.abs() - eye_left
    hair = materials[owner * len(MATERIALS) + MATERIALS.index("hair")][:, COLUMNS["first"]]
    beard, glasses, _ = looks.face[owner].unbind(1)

    def paint(where: Tensor, color: Tensor, strength: Tensor | float = 1.0) -> None:
        nonlocal albedo
        share = (where & ahead).float() * strength
        albedo = albedo * (1 - share[:, None]) + color * share[:, None]

    chin = (up < 0.045) & (front > 0.0)
    paint(chin, hair, beard)
    paint(
        ((left / 0.026) ** 2 + ((up - 0.022) / 0.009) ** 2) < 1,
        albedo * albedo.new_tensor([0.75, 0.42, 0.42]),
    )
    paint(((beside / 0.017) ** 2 + ((up - eye_up) / 0.010) ** 2) < 1, albedo * 0 + 0.85)
    paint(((beside / 0.0085) ** 2 + ((up - eye_up) / 0.010) ** 2) < 1, albedo * 0 + 0.08)
    paint((beside.abs() < 0.019) & ((up - eye_up - 0.020).abs() < 0.0045), hair * 0.7)
    paint(((left / 0.030) ** 2 + ((up - 0.040) / 0.006) ** 2) < 1, albedo * 0.8)
    paint((glasses > 0) & (((beside / 0.026) ** 2 + ((up - eye_up) / 0.019) ** 2) < 1), albedo * 0 + 0.06)
    return albedo
