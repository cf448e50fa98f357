# SPDX-License-Identifier: Apache-2.0
"""From examples to a decoder that is ready for INT8: its weights, and the steps of its activations.

Measuring and smoothing are modules of their own; `edgepose.examples` makes examples from images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgepose.bundle import EMBEDDINGS_FILE, Bundle, Manifest, PrecisionSpec
from edgepose.errors import InvalidInputError
from edgepose.export.activation_ranges import Example, measure_ranges
from edgepose.export.architectures.description import Architecture
from edgepose.export.smoothing import SmoothedDecoder, smooth
from edgepose.export.weights import ModelWeights

__all__ = ["Calibration", "check_calibration", "prepare_decoder", "unfinished_bundle"]


class Calibration(Protocol):
    """Where examples come from; `edgepose.examples.ImageExamples` is one."""

    def examples(self, bundle: Bundle) -> Iterator[Example]:
        """At least one example for a bundle whose graphs need not be there.

        Raises:
            InvalidInputError: One cannot be used.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """What the bundle says of where its ranges come from."""
        ...


def check_calibration(spec: PrecisionSpec, calibration: Calibration | None) -> None:
    """Checks that examples were given where activations are rounded, and nowhere else.

    Raises:
        InvalidInputError: It is the other way round.
    """
    if spec.weights == "int8" and calibration is None:
        raise InvalidInputError(
            f"[export] expected images to measure the ranges of activations on for precision {spec.name}; "
            "got none; name a few dozen photographs like those that the model will see with --calibration"
        )
    if spec.weights != "int8" and calibration is not None:
        raise InvalidInputError(
            f"[export] expected no calibration for precision {spec.name}, which rounds no activations; got "
            f"{calibration.to_json()}; leave --calibration out, or name an INT8 precision"
        )


def unfinished_bundle(folder: Path, draft: Manifest) -> Bundle:
    """A bundle under construction, of which tokenizer and embedding table are there."""
    return Bundle(folder, draft, np.load(folder / EMBEDDINGS_FILE, mmap_mode="r"))


def prepare_decoder(
    bundle: Bundle,
    architecture: Architecture[Any, Any],
    weights: ModelWeights[Any, Any],
    calibration: Calibration,
    *,
    strength: float,
    progress: Callable[[int, int], None] | None = None,
) -> SmoothedDecoder:
    """Measures on examples, then chooses factors and steps.

    Args:
        bundle: What the examples are for; see `unfinished_bundle`.
        architecture: What the model is made of.
        weights: Of all parts; read one layer at a time.
        calibration: Where examples come from.
        strength: See `edgepose.export.smoothing.smooth`.
        progress: Called with steps done and steps in all.

    Raises:
        InvalidInputError: There is no example, one cannot be used, or a range is not finite or too large for
            the activation type.
    """
    config = weights.config
    ranges = measure_ranges(architecture, config, weights, calibration.examples(bundle), progress=progress)
    largest = float(np.finfo(bundle.manifest.precision.activations).max)
    return smooth(config.decoder, weights, ranges, strength=strength, largest=largest)
