# SPDX-License-Identifier: Apache-2.0
"""Optimisation profiles of each graph: one for each kind of step, its shapes from the bundle's own lengths.

Counting tokens does not belong here: see `edgepose.engines.lengths`.

Graphs name their dimensions (`N`, `T`, ...); a profile says what each name may be, and the shapes of all
inputs follow. Decoder profiles, one for each step shape:

    prefix   the shared prompt, once for each image: one row
    suffix   the questions behind it, nothing cached of their own yet
    step     a chosen token and what is forced behind it
    draft    questions with guesses of their answers, or guesses in the middle of one

Note [Masked slot]: a cache segment of length 0 is given as one slot that the bias masks, since engines get no
empty inputs: P and S are never 0.

Note [One set of weights]: an engine keeps a second copy of many weights, laid out anew, where the number of
rows is fixed in one profile and not in another (TensorRT-RTX 1.7: two thirds more at the published width). So
the prefix, which has one row, may have two wherever other steps may have several.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgepose.bundle import ANSWER_HEAD, CONNECTOR, LLM_DECODER, LM_HEAD, VISION_ENCODER, Manifest
from edgepose.engine_component import Profile
from edgepose.engines.lengths import Lengths, Range
from edgepose.engines.onnx_graph import OnnxGraph
from edgepose.engines.recipe import Shapes
from edgepose.errors import BundleError

__all__ = ["derive_profiles", "profile_dimensions"]

_ONE = Range(1, 1, 1)


def profile_dimensions(
    graph: str, manifest: Manifest, lengths: Lengths, shapes: Shapes
) -> dict[str, dict[str, Range]]:
    """What the named dimensions of a graph may be, by profile."""
    if graph in (VISION_ENCODER, CONNECTOR):
        if manifest.frame is None or lengths.image is None:
            return {"images": {"B": Range(1, shapes.images, shapes.images)}}
        return {"frame": {"P": lengths.image.times(manifest.frame.merge**2)}}
    rows = lengths.questions
    if graph in (LM_HEAD, ANSWER_HEAD):
        return {
            "step": {"M": Range(1, rows.usual, rows.high * lengths.step_looks.high)},
            "draft": {
                "M": Range(1, rows.usual * lengths.looks.usual, rows.high * lengths.looks.high),
            },
        }
    assert graph == LLM_DECODER
    alone = _ONE if rows.high == 1 else Range(1, 1, 2)  # see Note [One set of weights]
    passes = {
        # A prefix has no segment before it: see Note [Masked slot].
        "prefix": {"N": alone, "T": lengths.prefix, "P": _ONE, "S": _ONE, "J": _ONE},
        "suffix": {
            "N": rows,
            "T": lengths.suffix,
            "P": lengths.prefix,
            "S": _ONE,
            "J": lengths.step_looks,
        },
        "step": {
            "N": rows,
            "T": lengths.step,
            "P": lengths.prefix,
            "S": lengths.slots,
            "J": lengths.step_looks,
        },
        "draft": {
            "N": rows,
            "T": lengths.draft,
            "P": lengths.prefix,
            "S": lengths.slots,
            "J": lengths.looks,
        },
    }
    for name, sizes in passes.items():
        sizes["K"] = sizes["P"] + sizes["S"] + sizes["T"]
        # Image features of the first layers: a row for each token of the prefix, elsewhere one of zeros.
        sizes["D"], sizes["E"] = _ONE, sizes["T"] if name == "prefix" else _ONE
    return passes


def derive_profiles(
    graph: OnnxGraph, manifest: Manifest, lengths: Lengths, shapes: Shapes
) -> tuple[Profile, ...]:
    """Profiles of a graph.

    Raises:
        BundleError: the graph has a dimension that no profile knows.
    """
    dimensions = profile_dimensions(graph.name, manifest, lengths, shapes)
    return tuple(Profile(name, _shapes(graph, sizes)) for name, sizes in dimensions.items())


def _shapes(graph: OnnxGraph, sizes: Mapping[str, Range]) -> dict[str, tuple[tuple[int, ...], ...]]:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    for item in graph.inputs:
        unknown = [size for size in item.shape if isinstance(size, str) and size not in sizes]
        if unknown:
            raise BundleError(
                f"[profile {graph.name}] expected dimensions out of {', '.join(sizes)}; got {unknown[0]!r} "
                f"of {item.name}; export the bundle again with this edgepose"
            )
        ranges = [Range(size, size, size) if isinstance(size, int) else sizes[size] for size in item.shape]
        shapes[item.name] = (
            tuple(size.low for size in ranges),
            tuple(size.usual for size in ranges),
            tuple(size.high for size in ranges),
        )
    return shapes
