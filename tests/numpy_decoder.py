# SPDX-License-Identifier: Apache-2.0
"""A language model and its decoding in plain NumPy: each prompt on its own, all recomputed for each token.

Caches, batches and drafts do not belong here: this is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Sizes:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    rope_theta: float = 10000.0


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights `(inputs, outputs)`, except the norms `(hidden,)`."""

    norm: Array
    query: Array
    key: Array
    value: Array
    output: Array
    mlp_norm: Array
    gate: Array
    up: Array
    down: Array


@dataclass(frozen=True, slots=True)
class Model:
    sizes: Sizes
    embeddings: Array
    layers: tuple[Layer, ...]
    norm: Array
    head: Array
    """`(vocabulary, hidden)`."""


def random_model(sizes: Sizes, rng: np.random.Generator, follow: Sequence[tuple[int, int]] = ()) -> Model:
    """A float32 model; for each pair of `follow`, the second token is likely to come after the first."""

    def matrix(rows: int, columns: int, gain: float = 1.0) -> Array:
        return (gain / np.sqrt(rows) * rng.standard_normal((rows, columns))).astype(np.float32)

    def norm() -> Array:
        return rng.uniform(0.5, 1.5, sizes.hidden).astype(np.float32)

    hidden, inner = sizes.hidden, 2 * sizes.hidden
    added = 0.4 if follow else 1.0  # what a layer adds to the last token's own embedding
    queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    layers = tuple(
        Layer(
            norm=norm(),
            query=matrix(hidden, queries, 1.5),
            key=matrix(hidden, keys, 1.5),
            value=matrix(hidden, keys),
            output=matrix(queries, hidden, added),
            mlp_norm=norm(),
            gate=matrix(hidden, inner),
            up=matrix(hidden, inner),
            down=matrix(inner, hidden, added),
        )
        for _ in range(sizes.layers)
    )
    embeddings = rng.standard_normal((sizes.vocabulary, hidden)).astype(np.float32)
    head = rng.standard_normal((sizes.vocabulary, hidden)).astype(np.float32)
    for before, after in follow:
        head[after] += 3 * embeddings[before]
    return Model(sizes, embeddings, layers, norm(), head)


def rms_norm(x: Array, weight: Array) -> Array:
    normed: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight
    return normed


def silu(x: Array) -> Array:
    activated: Array = x / (1 + np.exp(-x))
    return activated


def softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Half-split rotation of the last axis."""
    half = x.shape[-1] // 2
    turned: Array = x * cos + np.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin
    return turned


def last_logits(model: Model, embeddings: Array) -> Array:
    """Logits behind the last of `embeddings` `(length, hidden)`, in float64."""
    sizes = model.sizes
    x = embeddings.astype(np.float64)
    length = len(x)
    rates = sizes.rope_theta ** (-np.arange(0, sizes.head_dim, 2) / sizes.head_dim)
    angles = np.tile(np.arange(length)[:, None] * rates, 2)
    cos, sin = np.cos(angles), np.sin(angles)
    future = np.triu(np.full((length, length), -np.inf), k=1)
    for layer in model.layers:
        normed = rms_norm(x, layer.norm)
        query, key, value = (
            (normed @ weight).reshape(length, -1, sizes.head_dim).swapaxes(0, 1)
            for weight in (layer.query, layer.key, layer.value)
        )
        key, value = (np.repeat(t, sizes.heads // sizes.kv_heads, axis=0) for t in (key, value))
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        weights = softmax(query @ key.swapaxes(1, 2) / np.sqrt(sizes.head_dim) + future)
        x = x + (weights @ value).swapaxes(0, 1).reshape(length, -1) @ layer.output
        normed = rms_norm(x, layer.mlp_norm)
        x = x + (silu(normed @ layer.gate) * (normed @ layer.up)) @ layer.down
    logits: Array = model.head.astype(np.float64) @ rms_norm(x[-1], model.norm)
    return logits


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer and how it was chosen."""

    token: int
    probability: float
    """Over everything it was chosen among."""
    share: float
    """Over the alphabet alone."""
    mean: float
    """Expected index in the alphabet."""
    variance: float
    margin: float
    """Distance of the two largest logits that were compared; infinite where there was no choice."""


Form = Sequence[Sequence[int]]
"""For each token of an answer what it may be; one possibility means that it is forced."""


def decode_constrained(model: Model, prompt: Array, form: Form) -> list[Step]:
    """The most probable allowed token at each place of the form."""
    steps: list[Step] = []
    for alphabet in form:
        if len(alphabet) == 1:
            step = Step(alphabet[0], 1.0, 1.0, 0.0, 0.0, np.inf)
        else:
            step = _choose(last_logits(model, prompt), alphabet, alphabet)
        steps.append(step)
        prompt = np.concatenate([prompt, model.embeddings[[step.token]]])
    return steps


def decode_greedy(
    model: Model, prompt: Array, form: Form, digits: Sequence[int], end: int, max_tokens: int
) -> tuple[list[Step], bool]:
    """The most probable of all tokens until `end`, and whether the answer is one of the form.

    Shares and moments are those of the place's alphabet, of the digits where the answer has left the form.
    """
    steps: list[Step] = []
    in_form = True
    while len(steps) < max_tokens and (not steps or steps[-1].token != end):
        place = len(steps)
        alphabet = form[place] if in_form and place < len(form) else digits
        step = _choose(last_logits(model, prompt), range(model.sizes.vocabulary), alphabet)
        steps.append(step)
        if place < len(form):
            in_form = in_form and step.token in form[place]
        else:
            in_form = in_form and step.token == end
        prompt = np.concatenate([prompt, model.embeddings[[step.token]]])
    return steps, in_form and len(steps) >= len(form)


def greedy_passes(tokens: Sequence[int], form: Form, max_tokens: int) -> int:
    """How often a decoder that drafts forced tokens has to run behind the prefix for this answer.

    A run gives the token behind what it was fed, and with each drafted token that turns out right one more.
    """
    passes = known = 0
    while known < len(tokens):
        passes += 1
        on_form = all(place < len(form) and tokens[place] in form[place] for place in range(known))
        drafts = on_form
        while drafts and known + 1 < min(len(form) + 1, max_tokens) and len(form[known]) == 1:
            drafts = tokens[known] == form[known][0]
            if not drafts:
                break
            known += 1
        known += 1
    return passes


def _choose(logits: Array, candidates: Sequence[int], alphabet: Sequence[int]) -> Step:
    among = logits[list(candidates)]
    best = int(np.argmax(among))
    token = candidates[best]
    ranked = np.sort(among)
    shares = softmax(logits[list(alphabet)])
    indexes = np.arange(len(alphabet))
    mean = float(shares @ indexes)
    return Step(
        token=token,
        probability=float(softmax(among)[best]),
        share=float(shares[list(alphabet).index(token)]) if token in alphabet else 0.0,
        mean=mean,
        variance=float(shares @ (indexes - mean) ** 2),
        margin=float(ranked[-1] - ranked[-2]),
    )
