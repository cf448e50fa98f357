# SPDX-License-Identifier: Apache-2.0
"""Draw the picture that the demo runs on: a person waving in a street. Nothing here is measured or learnt.

    python tools/draw_demo_image.py             # writes src/edgepose/assets/person.jpg and person.json

Everything is drawn at four times the size and scaled down, so that edges are smooth.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (640, 480)
DETAIL = 4
ASSETS = Path(__file__).resolve().parents[1] / "src" / "edgepose" / "assets"

Point = tuple[float, float]
Color = tuple[int, int, int]

SKIN, SKIN_SHADE, HAIR = (226, 176, 142), (196, 141, 108), (74, 48, 34)
SHIRT, SHIRT_SHADE = (206, 78, 62), (163, 54, 46)
JEANS, JEANS_SHADE = (62, 84, 124), (44, 61, 94)
SHOE, SOLE = (238, 236, 230), (120, 116, 112)

# Joints of the person in pixels of the finished picture; the person's left is on the right of the picture.
HEAD, NECK = (330.0, 97.0), (330.0, 142.0)
RIGHT_ARM = [(290.0, 159.0), (247.0, 193.0), (226.0, 128.0)]
LEFT_ARM = [(370.0, 159.0), (392.0, 217.0), (381.0, 272.0)]
RIGHT_LEG = [(313.0, 268.0), (305.0, 345.0), (297.0, 420.0)]
LEFT_LEG = [(347.0, 268.0), (355.0, 345.0), (363.0, 420.0)]
BOX = (208, 55, 200, 385)
"""(x, y, width, height) around the person, pixels."""


class Layer:
    """A picture to draw on, in pixels of the finished picture."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points: list[Point], color: Color) -> None:
        self._draw.polygon([(x * DETAIL, y * DETAIL) for x, y in points], fill=color)

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        self._draw.rectangle([left * DETAIL, top * DETAIL, right * DETAIL, bottom * DETAIL], fill=color)

    def ellipse(self, center: Point, rx: float, ry: float, color: Color) -> None:
        x, y = center
        edges = [(x - rx) * DETAIL, (y - ry) * DETAIL, (x + rx) * DETAIL, (y + ry) * DETAIL]
        self._draw.ellipse(edges, fill=color)

    def arc(
        self, center: Point, rx: float, ry: float, start: float, end: float, color: Color, width: float
    ) -> None:
        x, y = center
        edges = [(x - rx) * DETAIL, (y - ry) * DETAIL, (x + rx) * DETAIL, (y + ry) * DETAIL]
        self._draw.arc(edges, start, end, fill=color, width=round(width * DETAIL))

    def limb(self, a: Point, b: Point, start: float, end: float, color: Color) -> None:
        """A tapered capsule from `a` with radius `start` to `b` with radius `end`."""
        along = np.subtract(b, a)
        normal = np.array([-along[1], along[0]]) / np.hypot(*along)
        corners = [np.add(a, start * normal), np.add(b, end * normal), np.subtract(b, end * normal),
                   np.subtract(a, start * normal)]  # fmt: skip
        self.polygon([(float(x), float(y)) for x, y in corners], color)
        self.ellipse(a, start, start, color)
        self.ellipse(b, end, end, color)

    def shaded_limb(self, a: Point, b: Point, start: float, end: float, color: Color, shade: Color) -> None:
        """A limb lit from the upper right: the shade stays visible along its left side."""
        self.limb(a, b, start, end, shade)
        lit = [(x + 0.22 * r, y - 0.1 * r) for (x, y), r in ((a, start), (b, end))]
        self.limb(lit[0], lit[1], start * 0.78, end * 0.78, color)


def gradient(top: Color, bottom: Color, height: int, width: int) -> Image.Image:
    """A vertical colour gradient, sizes in pixels of the finished picture."""
    share = np.linspace(0, 1, height * DETAIL)[:, None, None]
    column = (1 - share) * np.array(top) + share * np.array(bottom)
    return Image.fromarray(np.broadcast_to(column, (height * DETAIL, width * DETAIL, 3)).astype(np.uint8))


def street() -> Image.Image:
    """Sky, houses, trees, pavement and road, slightly out of focus."""
    image = gradient((134, 182, 222), (226, 234, 236), SIZE[1], SIZE[0])
    layer = Layer(image)
    houses = [
        (-10, 96, 118, 40, (196, 170, 140)),
        (118, 60, 232, 52, (170, 120, 102)),
        (232, 112, 372, 44, (206, 200, 186)),
        (372, 74, 480, 48, (152, 160, 170)),
        (480, 104, 650, 46, (204, 184, 146)),
    ]
    for left, top, right, step, wall in houses:
        roof: Color = tuple(round(0.62 * c) for c in wall)  # type: ignore[assignment]
        layer.rectangle(left, top, right, 330, wall)
        layer.rectangle(left - 2, top - 5, right + 2, top + 4, roof)
        for y in range(top + 20, 280, step):
            for x in range(left + 16, right - 22, 34):
                layer.rectangle(x - 2, y - 2, x + 20, y + 28, (236, 232, 224))
                layer.rectangle(x, y, x + 18, y + 26, (92, 116, 138))
                layer.polygon([(x, y + 26), (x, y + 12), (x + 12, y), (x + 18, y)], (126, 152, 174))
    layer.rectangle(150, 268, 200, 330, (88, 62, 48))
    layer.rectangle(520, 262, 600, 330, (70, 94, 92))
    layer.polygon([(508, 262), (612, 262), (622, 280), (498, 280)], (190, 70, 60))
    for trunk, crown in ((64, 232), (566, 214)):
        layer.rectangle(trunk - 5, crown, trunk + 5, 345, (96, 72, 52))
        for dx, dy, radius, green in (
            (0, 0, 42, (74, 118, 62)), (-26, 14, 30, (64, 106, 56)),
            (26, 12, 32, (84, 130, 68)), (4, -24, 30, (98, 146, 78)),
        ):  # fmt: skip
            layer.ellipse((trunk + dx, crown - 18 + dy), radius, radius, green)
    layer.rectangle(462, 120, 467, 350, (64, 66, 70))
    layer.ellipse((464.5, 116), 9, 9, (250, 238, 196))
    image.paste(gradient((186, 184, 178), (158, 154, 148), 110, SIZE[0]), (0, 328 * DETAIL))
    image.paste(gradient((96, 98, 102), (70, 72, 76), 60, SIZE[0]), (0, 446 * DETAIL))
    layer.rectangle(0, 438, 640, 446, (204, 202, 196))
    for x in range(-200, 900, 64):  # joints of the paving slabs run to a vanishing point
        layer.polygon([(320 + (x - 320) * 0.55, 328), (x, 438), (x + 2, 438)], (142, 138, 132))
    for y in (344, 366, 398):
        layer.rectangle(0, y, 640, y + 1, (142, 138, 132))
    for x in range(20, 640, 150):
        layer.rectangle(x, 462, x + 80, 467, (222, 220, 214))
    return image.filter(ImageFilter.GaussianBlur(1.1 * DETAIL))


def add_shadow(image: Image.Image) -> Image.Image:
    """Darken the pavement where the person stands and where the sun does not reach."""
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    for x, y, rx, ry, depth in ((330, 434, 62, 7, 150), (262, 430, 100, 10, 70)):
        draw.ellipse([(x - rx) * DETAIL, (y - ry) * DETAIL, (x + rx) * DETAIL, (y + ry) * DETAIL], fill=depth)
    mask = mask.filter(ImageFilter.GaussianBlur(5 * DETAIL))
    return Image.composite(Image.new("RGB", image.size, (40, 40, 48)), image, mask)


def draw_legs(layer: Layer) -> None:
    for leg, toe in ((RIGHT_LEG, -9.0), (LEFT_LEG, 9.0)):
        hip, knee, ankle = leg
        x, y = ankle
        left, right = x - 11 + min(toe, 0), x + 11 + max(toe, 0)
        layer.polygon([(left, y + 18), (x - 9, y + 2), (x + 9, y + 2), (right, y + 18)], SHOE)
        layer.ellipse((x + toe, y + 13), 11, 7, SHOE)
        layer.rectangle(left - 1, y + 16, right + 1, y + 20, SOLE)
        layer.shaded_limb(hip, knee, 22, 16, JEANS, JEANS_SHADE)
        layer.shaded_limb(knee, ankle, 16, 11.5, JEANS, JEANS_SHADE)
        layer.rectangle(x - 12, y + 4, x + 12, y + 9, (86, 110, 152))
    layer.polygon([(294, 250), (366, 250), (370, 276), (334, 292), (330, 282), (326, 292), (290, 276)], JEANS)


def draw_arm(layer: Layer, arm: list[Point], hand: Point) -> None:
    shoulder, elbow, wrist = arm
    layer.shaded_limb(elbow, wrist, 10, 7, SKIN, SKIN_SHADE)
    layer.shaded_limb(shoulder, elbow, 13.5, 10.5, SKIN, SKIN_SHADE)
    x, y = hand
    up = -1.0 if y < wrist[1] else 1.0
    layer.shaded_limb(wrist, hand, 7, 9, SKIN, SKIN_SHADE)
    for side, length in ((-6.5, 12.0), (-2.2, 15.0), (2.2, 15.0), (6.5, 12.0)):
        spread = 1.5 if up < 0 else 0.8  # an open hand when waving
        layer.limb((x + side * 0.9, y + 4 * up), (x + side * spread, y + length * up), 2.6, 2.0, SKIN)
    thumb = 1.0 if x < HEAD[0] else -1.0
    layer.limb((x + 5 * thumb, y), (x + 12 * thumb, y + 6 * up), 3.0, 2.2, SKIN)
    sleeve = tuple(np.add(shoulder, 0.55 * np.subtract(elbow, shoulder)))
    layer.shaded_limb(shoulder, sleeve, 17, 15, SHIRT, SHIRT_SHADE)


def draw_torso(layer: Layer) -> None:
    right: list[Point] = [(342, 136), (378, 148), (383, 172), (368, 200)]
    layer.polygon(
        [(282, 148), (318, 136), *right, (367, 262), (293, 262), (292, 200), (277, 172)], SHIRT_SHADE
    )
    layer.polygon([(292, 150), (320, 137), *right, (367, 258), (306, 260), (304, 200), (291, 172)], SHIRT)
    layer.polygon([(320, 112), (340, 112), (342, 138), (330, 150), (318, 138)], SKIN_SHADE)
    layer.arc((330, 134), 15, 17, 5, 175, (120, 36, 32), 2.4)
    layer.polygon([(292, 192), (368, 192), (368, 206), (292, 206)], (240, 226, 206))
    for x, y, h in ((306, 226, 26), (352, 218, 34)):  # folds
        layer.polygon([(x, y), (x + 2.5, y + h), (x - 1.5, y + h)], SHIRT_SHADE)


def draw_head(layer: Layer) -> None:
    x, y = HEAD
    layer.ellipse((x, y - 9), 28, 32, HAIR)
    for side in (-1, 1):
        layer.ellipse((x + 24 * side, y + 2), 5, 8, SKIN_SHADE)
    layer.ellipse((x, y), 24, 31, SKIN_SHADE)
    layer.ellipse((x + 1.5, y - 0.5), 22, 29.5, SKIN)
    layer.polygon([(x - 26, y - 4), (x - 25, y - 26), (x - 4, y - 38), (x + 22, y - 30), (x + 26, y - 4),
                   (x + 19, y - 16), (x + 4, y - 23), (x - 12, y - 19), (x - 21, y - 12)], HAIR)  # fmt: skip
    for side in (-1, 1):
        eye = (x + 9.5 * side, y - 1)
        layer.ellipse(eye, 4.6, 2.9, (250, 248, 244))
        layer.ellipse(eye, 2.3, 2.6, (72, 96, 84))
        layer.ellipse(eye, 1.1, 1.3, (16, 16, 18))
        layer.ellipse((eye[0] + 0.8, eye[1] - 0.9), 0.6, 0.6, (255, 255, 255))
        layer.arc((eye[0], eye[1] - 3.5), 6.2, 4, 200, 340, HAIR, 1.7)
        layer.ellipse((x + 13 * side, y + 9), 4.5, 3, (231, 160, 134))
    layer.polygon([(x - 0.5, y), (x + 3.6, y + 9), (x - 3.2, y + 9)], SKIN_SHADE)
    layer.ellipse((x + 0.2, y + 8.6), 3.6, 2.2, (212, 158, 124))
    layer.arc((x, y + 11.5), 8.5, 7.5, 20, 160, (158, 66, 62), 2.2)


def demo_image() -> Image.Image:
    """The finished picture: 640x480, RGB."""
    person = Image.new("RGB", (SIZE[0] * DETAIL, SIZE[1] * DETAIL))
    person.paste(add_shadow(street()))
    layer = Layer(person)
    draw_legs(layer)
    draw_arm(layer, LEFT_ARM, (379.0, 284.0))
    draw_torso(layer)
    draw_arm(layer, RIGHT_ARM, (224.0, 114.0))
    draw_head(layer)
    small = person.resize(SIZE, Image.Resampling.LANCZOS)
    light = (
        np.linspace(1.04, 0.94, SIZE[0])[None, ::-1, None] * np.linspace(1.02, 0.97, SIZE[1])[:, None, None]
    )
    grain = np.random.default_rng(20).normal(0, 2.2, (SIZE[1], SIZE[0], 1))  # a sensor's noise
    return Image.fromarray(np.clip(np.asarray(small) * light + grain, 0, 255).astype(np.uint8))


def main(folder: Path = ASSETS) -> None:
    """Write person.jpg and person.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    demo_image().save(folder / "person.jpg", quality=88, optimize=True)
    (folder / "person.json").write_text(json.dumps({"box": BOX}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
