# SPDX-License-Identifier: Apache-2.0
"""Makes the inputs of a golden fit a profile of an engine, without changing what the graph answers.

Goldens are small, and profiles start at the shortest prompt and the smallest image of a bundle. Where no way
below leads into a profile, the golden is not run in it. Running them does not belong here.

    llm_decoder    more tokens behind those of the pass, more slots behind those of a cache: `bias` masks them
                   for all others, which Note [Masked slot] of `edgepose.engines.profiles` allows; rows are
                   independent, so that more of them than a batch holds are run one batch after the other
    heads          rows are independent as well
    others         the whole input again, as often as needed: images of a batch are independent; patches of
                   one frame all see all others, and a softmax over keys of which each stands there k times
                   gives the same averages
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.bundle import ANSWER_HEAD, LLM_DECODER, LM_HEAD
from edgepose.engine_component import Profile
from edgepose.verify.goldens import Arrays

__all__ = ["Fitted", "fit"]

_MASKED = -30000.0
"""What the runtime adds to scores of keys that may not be seen."""

_BY_ROW = {"embeddings", "cos", "sin", "bias", "logit_positions", "hidden"}
"""Inputs whose first axis is that of a batch's rows; of suffix caches it is the second, others have none."""


@dataclass(frozen=True, slots=True, repr=False)
class Fitted:
    """Inputs that a profile takes."""

    pieces: tuple[Arrays, ...]
    """To be run one after the other."""
    merge: Callable[[Sequence[Arrays]], tuple[Arrays, ...]]
    """Makes the graph's outputs for the golden's own inputs of the outputs of all pieces: once, or as often
    as those are given again."""
    misfit: str = ""
    """What is outside the profile all the same; empty where the pieces may be run."""


def fit(graph: str, inputs: Arrays, profile: Profile) -> Fitted:
    """Inputs of a golden for one profile.

    Args:
        graph: whose inputs they are.
        inputs: by name, in the shapes that the bundle's graph takes.
        profile: of the engine.

    Raises:
        KeyError: an input of the engine is missing.
        ValueError: the inputs do not fit each other.
    """
    if graph == LLM_DECODER:
        tokens = inputs["embeddings"].shape[1]
        pieces = _batches(_widened(inputs, profile), profile, "embeddings")
        merge = _without_padding(tokens)
    elif graph in (LM_HEAD, ANSWER_HEAD):
        pieces = _batches(inputs, profile, "hidden")
        merge = _one_below_the_other
    else:
        times = _missing_times(inputs, profile)
        pieces = (_repeated(inputs, profile, times),)
        merge = _each_of(times)
    wrong = [line for piece in pieces for line in profile.refusals({k: v.shape for k, v in piece.items()})]
    return Fitted(pieces, merge, wrong[0] if wrong else "")


# Rows of a batch ----------------------------------------------------------------------------------------


def _batches(inputs: Arrays, profile: Profile, counted: str) -> tuple[Arrays, ...]:
    """The inputs in as many batches as it takes, by the rows of the input `counted`."""
    rows, most = inputs[counted].shape[0], profile.shapes[counted][2][0]
    return tuple(
        {name: _some_rows(name, array, slice(start, start + most)) for name, array in inputs.items()}
        for start in range(0, rows, most)
    )


def _some_rows(name: str, array: NDArray[Any], rows: slice) -> NDArray[Any]:
    if name.startswith("suffix_"):
        return array[:, rows]
    return array[rows] if name in _BY_ROW else array


def _one_below_the_other(outputs: Sequence[Arrays]) -> tuple[Arrays, ...]:
    return ({name: np.concatenate([piece[name] for piece in outputs]) for name in outputs[0]},)


# A pass of the decoder ----------------------------------------------------------------------------------


def _widened(inputs: Arrays, profile: Profile) -> Arrays:
    """The same pass with at least as many tokens and slots as the profile starts at."""

    def more(name: str, axis: int) -> int:
        return max(0, profile.shapes[name][0][axis] - int(inputs[name].shape[axis]))

    rows, tokens, _ = inputs["embeddings"].shape
    prefix, suffix = inputs["prefix_key.0"].shape[2], inputs["suffix_key.0"].shape[2]
    further, free, room = more("embeddings", 1), more("prefix_key.0", 2), more("suffix_key.0", 2)
    places = np.concatenate(
        [
            np.arange(prefix),
            prefix + free + np.arange(suffix),
            prefix + free + suffix + room + np.arange(tokens),
        ]
    )
    keys = prefix + free + suffix + room + tokens + further
    bias = np.full((rows, tokens + further, keys), _MASKED, dtype=inputs["bias"].dtype)
    bias[:, :tokens, places] = inputs["bias"]
    wide: dict[str, NDArray[Any]] = {}
    for name, array in inputs.items():
        if name.startswith("prefix_"):
            wide[name] = _padded(array, 2, free)
        elif name.startswith("suffix_"):
            wide[name] = _padded(array, 2, room)
        elif name in ("embeddings", "cos", "sin") or (name.startswith("deepstack.") and array.shape[1] > 1):
            wide[name] = _padded(array, 1, further)
        else:
            wide[name] = array
    return wide | {"bias": bias}


def _padded(array: NDArray[Any], axis: int, count: int) -> NDArray[Any]:
    """With zeros behind."""
    return np.pad(array, [(0, count if number == axis else 0) for number in range(array.ndim)])


def _without_padding(tokens: int) -> Callable[[Sequence[Arrays]], tuple[Arrays, ...]]:
    def merge(outputs: Sequence[Arrays]) -> tuple[Arrays, ...]:
        merged: dict[str, NDArray[Any]] = {}
        for name in outputs[0]:
            parts = [piece[name] for piece in outputs]
            if name.startswith(("key.", "value.")):  # (kv_heads, N, T, head_dim)
                merged[name] = np.concatenate(parts, axis=1)[:, :, :tokens]
            else:
                merged[name] = np.concatenate(parts)
        return (merged,)

    return merge


# Images and patches -------------------------------------------------------------------------------------


def _missing_times(inputs: Arrays, profile: Profile) -> int:
    """How often the inputs must be given for none to be too short."""
    return max(
        -(-least // int(size))
        for name, (low, _, _) in profile.shapes.items()
        for least, size in zip(low, inputs[name].shape, strict=True)
    )


def _repeated(inputs: Arrays, profile: Profile, times: int) -> Arrays:
    """Inputs `times` over, each along the first axis that is too short for the profile."""
    repeated = dict(inputs)
    for name, (low, _, _) in profile.shapes.items():
        array = inputs[name]
        short = [axis for axis, least in enumerate(low) if least > array.shape[axis]]
        if short:
            repeated[name] = np.concatenate([array] * times, axis=short[0])
    return repeated


def _each_of(times: int) -> Callable[[Sequence[Arrays]], tuple[Arrays, ...]]:
    def merge(outputs: Sequence[Arrays]) -> tuple[Arrays, ...]:
        (whole,) = outputs
        parts = {name: np.split(array, times) for name, array in whole.items()}
        return tuple({name: parts[name][number] for name in parts} for number in range(times))

    return merge
