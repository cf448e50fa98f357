# SPDX-License-Identifier: Apache-2.0
"""Number types of a bundle.

How weights are converted does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgepose.manifest.checks import Check

__all__ = ["PRECISIONS", "PrecisionSpec"]


@dataclass(frozen=True, slots=True)
class PrecisionSpec:
    """Number types of a bundle; the allowed combinations are `PRECISIONS`."""

    name: Literal[
        "fp32", "fp16", "int4", "int4-fp16", "int8", "int8-fp16", "fp32-half", "int4-half", "int8-half"
    ]
    weights: Literal["float32", "float16", "int4", "int8"]
    """Type of the large weight matrices of the decoder. Beside `int8`, what these are multiplied with is
    rounded to INT8 as well, at steps that are fixed at export."""
    activations: Literal["float32", "float16"]
    """Type of pixels, features, embeddings, hidden states and KV."""
    half_storage: bool = False
    """Whether float32 weights lie in the graphs' files as float16 and are widened when a graph is loaded:
    half the disk, the same speed."""

    def check(self, check: Check) -> None:
        """Note what does not fit."""
        check.expect(self == PRECISIONS[self.name], "precision", f"{PRECISIONS[self.name]}", self)


PRECISIONS: Mapping[str, PrecisionSpec] = {
    spec.name: spec
    for spec in (
        PrecisionSpec("fp32", "float32", "float32"),
        PrecisionSpec("fp16", "float16", "float16"),
        PrecisionSpec("int4", "int4", "float32"),
        PrecisionSpec("int4-fp16", "int4", "float16"),
        PrecisionSpec("int8", "int8", "float32"),
        PrecisionSpec("int8-fp16", "int8", "float16"),
        PrecisionSpec("fp32-half", "float32", "float32", half_storage=True),
        PrecisionSpec("int4-half", "int4", "float32", half_storage=True),
        PrecisionSpec("int8-half", "int8", "float32", half_storage=True),
    )
}
"""Every precision by name."""
