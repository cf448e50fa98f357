# SPDX-License-Identifier: Apache-2.0
"""Scenes: people and things in front of cameras, their keypoints, their outlines, and their light.

Where cameras stand is decided by who asks: see `crops`, `frames` and `clips`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.training.rendering.background import draw_background
from edgepose.training.rendering.body import build_bodies
from edgepose.training.rendering.bones import JOINTS, directions_of, joints_of
from edgepose.training.rendering.draws import Draws
from edgepose.training.rendering.frames_of_body import BodyFrames, body_frames
from edgepose.training.rendering.landmarks import coco17_points, mpii16_points
from edgepose.training.rendering.materials import draw_materials
from edgepose.training.rendering.people import Looks, People, draw_looks
from edgepose.training.rendering.pose_library import Poses
from edgepose.training.rendering.primitives import Boxes, Cones, joined
from edgepose.training.rendering.raster import Surface, cone_extents, nearest_surface
from edgepose.training.rendering.scenery import THINGS, draw_scenery
from edgepose.training.rendering.shading import Lights, draw_lights, shade_solids
from edgepose.training.rendering.shadows import Shadows, cast_shadows
from edgepose.training.rendering.solids import MATERIALS
from edgepose.training.rendering.stage import Stage
from edgepose.training.rendering.vectors import rotation
from edgepose.training.rendering.views import View

__all__ = ["Scene", "draw_scene", "render"]


@dataclass(frozen=True, slots=True)
class Scene:
    """P people in B images. Camera frame, metres."""

    view: View
    image: Tensor
    """(P,) int64: image of each person; the first of each image is the main one."""
    shown: Tensor
    """(P,) bool: who is there."""
    main: Tensor
    """(B,) int64: rows of the main people."""
    joints: Tensor
    """(P, 22, 3)."""
    coco17: Tensor
    """(P, 17, 3)."""
    mpii16: Tensor
    """(P, 16, 3)."""
    flesh: Tensor
    """(P,): factor on the metres of flesh around joints."""
    looks: Looks
    frames: BodyFrames
    cones: Cones
    boxes: Boxes
    materials: Tensor
    lights: Lights
    floor: Tensor
    """(B,): from the camera down to the floor."""
    wall: Tensor
    """(B,): to the wall."""

    def outlines(self, sizes: Tensor) -> Tensor:
        """Boxes around what of each person lies in the image, whatever stands in front of it.

        Args:
            sizes: `(B, 2)` width and height of the images, pixels.

        Returns:
            `(P, 4)`: x0, y0, x1, y1 in pixels of the view; x0 above x1 where nothing of a person is in it.
        """
        extents = cone_extents(self.cones, self.view.projection)
        limits = sizes[self.cones.image] - 1
        low, high = extents[:, :2].clamp(min=0), torch.minimum(extents[:, 2:], limits)
        rows = ((self.cones.owner >= 0) & (low <= high).all(1)).nonzero()[:, 0]
        owner = self.cones.owner[rows, None].expand(-1, 2)
        shape = (len(self.image), 2)
        low = torch.full(shape, torch.inf, device=low.device).scatter_reduce_(0, owner, low[rows], "amin")
        high = torch.full(shape, -torch.inf, device=low.device).scatter_reduce_(0, owner, high[rows], "amax")
        return torch.cat([low, high], dim=1)


def draw_scene(draws: Draws, view: View, poses: Poses, people: People, stage: Stage) -> Scene:
    """Fill the views with people and things."""
    images, slots = len(view.focal), len(stage.company)
    device = draws.device
    count = images * slots
    image = torch.arange(images, device=device).repeat_interleave(slots)
    slot = torch.arange(slots, device=device).repeat(images)
    main = torch.arange(images, device=device) * slots
    shown = slot <= draws.choice((images,), stage.company)[image]
    looks = draw_looks(draws, count, people)
    posed = poses.sample(draws.generator, count).to(device)
    bodies = joints_of(directions_of(posed), looks.lengths)

    roughly = draws.chance((count,), stage.facing)
    yaw = torch.where(roughly, draws.normal((count,), 0.75), draws.uniform((count,), (-torch.pi, torch.pi)))
    turn = rotation(1, yaw)
    tumbled = draws.chance((count,), stage.tumbled).float()
    turn = (
        rotation(2, tumbled * draws.normal((count,), 1.3))
        @ rotation(0, tumbled * draws.normal((count,), 1.0))
        @ turn
    )
    tilt = rotation(2, view.roll) @ rotation(0, view.pitch)
    # A body that faces the camera: its left is the camera's right, its up the camera's up.
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], device=device))
    placed = bodies @ (tilt[image] @ facing @ turn).transpose(1, 2)
    up = tilt @ torch.tensor([0.0, -1.0, 0.0], device=device)

    focus = (placed[main] * view.focus[..., None]).sum(1)
    shift = torch.zeros(count, 3, device=device)
    shift[main] = view.target - focus
    lowest = -((placed + shift[:, None]) * up[image][:, None]).sum(-1).amin(1) + 0.075 * looks.scale
    floor = lowest[main].clamp(min=0.25)
    anchor = view.target
    if stage.ground is not None:
        floor = torch.full_like(floor, stage.ground)
    if stage.anchor is not None:
        anchor = anchor.new_tensor(stage.anchor).expand_as(anchor)
    shift = torch.where((slot > 0)[:, None], _beside(draws, view, tilt, image, shift[main], stage), shift)
    lowest = -((placed + shift[:, None]) * up[image][:, None]).sum(-1).amin(1) + 0.075 * looks.scale
    drop = (lowest - floor[image]) * (slot > 0)
    joints = placed + (shift + up[image] * drop[:, None])[:, None]
    shown = shown & ((slot == 0) | (joints[..., 2].amin(1) > 0.25))

    frames = body_frames(joints, looks.head)
    head_size = looks.scale * looks.girth[:, 3]
    bodies_of = build_bodies(joints, frames, looks, image, shown)
    first_material = count * len(MATERIALS)
    things, boxes = draw_scenery(draws, up, anchor, floor, stage.occluded, first_material)
    return Scene(
        view=view,
        image=image,
        shown=shown,
        main=main,
        joints=joints,
        coco17=coco17_points(joints, frames, looks.scale, head_size),
        mpii16=mpii16_points(joints, frames, looks.scale, head_size),
        flesh=looks.scale,
        looks=looks,
        frames=frames,
        cones=joined([bodies_of, things]),
        boxes=boxes,
        materials=draw_materials(draws, count, images * THINGS),
        lights=draw_lights(draws, up),
        floor=floor,
        wall=anchor[:, 2] + draws.log_uniform((images,), (0.6, 15)),
    )


def _beside(draws: Draws, view: View, tilt: Tensor, image: Tensor, shift: Tensor, stage: Stage) -> Tensor:
    """Where the others of each image are: beside and behind the main person, some in front."""
    count = len(image)
    depth = shift[:, 2].clamp(min=0.5)[image]
    nearer = draws.chance((count,), stage.in_front) & (depth > 1.2)
    behind = draws.log_uniform((count,), (0.15, 3.0))
    forward = torch.where(nearer, -draws.uniform((count,), (0.15, 0.45)) * depth, behind)
    side = (draws.uniform((count,), (0.25, 1.3)) + 0.25 * nearer) * draws.signs((count,))
    side = side * ((depth + forward) / depth).clamp(0.7, 2.0)
    offset = torch.stack([side, torch.zeros_like(side), forward], 1)
    return shift[image] + (tilt[image] @ offset[..., None])[..., 0]


def render(draws: Draws, scene: Scene, projection: Tensor, height: int, width: int) -> tuple[Tensor, Surface]:
    """The light that reaches each pixel, `(B, H, W, 3)` float32, and what each pixel sees.

    Args:
        projection: `(B, 3, 3)`: the view's cameras, or these followed by a map of pixels.
    """
    count = len(projection)
    surface = nearest_surface(scene.cones, scene.boxes, projection, height, width)
    device = projection.device
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3)
    rays = (grid @ torch.linalg.inv(projection).transpose(1, 2)).reshape(count, height, width, 3)
    light = draw_background(draws, rays, scene.lights.up, scene.floor, scene.wall).reshape(-1, 3)
    center = scene.joints[scene.main][:, [JOINTS["pelvis"], JOINTS["neck"]]].mean(1)
    shadows = cast_shadows(scene.cones, scene.lights.toward, center)
    _shade_floor(light, scene, shadows, rays, surface)
    place = (surface.solid >= 0).nonzero()[:, 0]
    points = rays.reshape(-1, 3)[place] * surface.depth[place, None]
    image = torch.div(place, height * width, rounding_mode="floor")
    light[place] = shade_solids(
        scene.cones,
        scene.boxes,
        scene.materials,
        scene.looks,
        scene.frames,
        scene.joints[:, JOINTS["head"]],
        scene.lights,
        surface.solid[place],
        image,
        points,
        shadows.sunlit(image, points),
    )
    return light.reshape(count, height, width, 3), surface


def _shade_floor(light: Tensor, scene: Scene, shadows: Shadows, rays: Tensor, surface: Surface) -> None:
    """Darken the floor, in `light`, where people keep the sun from it."""
    height, width = rays.shape[1:3]
    falling = -(rays.reshape(len(rays), -1, 3) @ scene.lights.up[..., None])[..., 0]
    depth = (scene.floor[:, None] / falling.clamp(min=1e-4)).reshape(-1)
    place = ((surface.solid < 0) & (depth < scene.view.target[:, 2].max() + 3)).nonzero()[:, 0]
    image = torch.div(place, height * width, rounding_mode="floor")
    points = rays.reshape(-1, 3)[place] * depth[place, None]
    sun, sky = scene.lights.sun[image], scene.lights.sky[image]
    left = sky / (sky + 0.8 * sun)
    light[place] *= left + (1 - left) * shadows.sunlit(image, points)
