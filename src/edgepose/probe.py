# SPDX-License-Identifier: Apache-2.0
"""Asks a bundle's model once, without a form, and learns from its answer how it sets its answers.

The rule by which an answer shows its layout does not belong here: see `edgepose.answer_layout`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from edgepose.answer_layout import layout_from_tokens
from edgepose.bundle import BinCodecSpec, LayoutSpec, read_manifest, write_manifest
from edgepose.camera import Camera
from edgepose.errors import InvalidInputError
from edgepose.images import load_image
from edgepose.localizer import Localizer
from edgepose.progress import Progress
from edgepose.skeleton import SMPL22

__all__ = ["probe_layout"]

_PHOTOGRAPH = Path(__file__).parent / "assets" / "person.jpg"
_MOST_TOKENS = 200
"""An answer about four joints has 39 tokens, with blanks and commas about 84."""


def probe_layout(path: str | os.PathLike[str], *, progress: Progress | None = None) -> LayoutSpec | None:
    """Learn the layout of answers from the model's own answer, and write it into the bundle.

    The model is asked for the joints of `upper_body` on a photograph that ships with the package, in exact
    decoding.

    Args:
        path: a bundle with a bin codec.
        progress: called while graphs load and after each pass.

    Returns:
        The layout, or None where the answer shows none (random weights, say); the bundle then stays as it is.

    Raises:
        BundleError: the bundle is missing or damaged.
        InvalidInputError: it has no bin codec, so no layout to learn; or the answer is set with tokens that
            the export did not foresee.
    """
    manifest = read_manifest(path)
    codec = manifest.codec
    if not isinstance(codec, BinCodecSpec):
        raise InvalidInputError(
            f"[probe] expected a bundle whose answers stand in blocks; got one of {manifest.family}, whose "
            "answers have one form; nothing needs to be learnt"
        )
    pixels = load_image(_PHOTOGRAPH)
    height, width = pixels.shape[:2]
    focal = float(max(width, height))
    camera = Camera(focal, focal, width / 2, height / 2, width, height)
    localizer = Localizer(path, decode="exact", max_tokens=_MOST_TOKENS, progress=progress)
    joints = list(SMPL22.groups["upper_body"])
    (pose,) = localizer.locate(pixels, keypoints=joints, camera=camera, progress=progress)
    try:
        layout = layout_from_tokens(
            pose.token_ids,
            bins=codec.bins,
            joints=tuple(codec.joints.values()),
            markers=codec.markers,
            end=codec.end,
            source="probe",
        )
    except InvalidInputError:
        return None
    between = {number for separator in layout.separators.values() for number in separator}
    if between - set(manifest.answer_head):
        raise InvalidInputError(
            f"[probe] expected the answer head of {os.fspath(path)} to hold the tokens of the answer "
            f"{pose.text!r}; got none for {sorted(between - set(manifest.answer_head))}; export it again "
            f"with --answer-layout {str(list(pose.token_ids))!r}"
        )
    write_manifest(path, dataclasses.replace(manifest, codec=dataclasses.replace(codec, layout=layout)))
    return layout
