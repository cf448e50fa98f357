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

from .answer_forms import Form

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
    rope_sections: tuple[int, ...] = ()
    """Rotary frequencies that follow time, row and column, interleaved; empty: positions are one number."""
    deepstack: int = 0
    """Layers behind which image features are added."""


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


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is given: text, one image, text."""

    tokens: tuple[int, ...]
    """As the repetition penalty counts them: an image row is the token that stands for it, -1 for none."""
    embeddings: Array
    """`(length, hidden)`."""
    positions: NDArray[np.int64]
    """`(length, 3)`: time, row, column."""
    features: Array
    """`(deepstack, length, hidden)`: added behind the first layers, zeros for text."""

    def followed_by(self, token: int, embedding: Array) -> Prompt:
        """With one more token of text."""
        hidden = self.embeddings.shape[1]
        return Prompt(
            (*self.tokens, token),
            np.concatenate([self.embeddings, embedding[None]]),
            np.concatenate([self.positions, np.full((1, 3), self.positions.max() + 1)]),
            np.concatenate([self.features, np.zeros((len(self.features), 1, hidden))], axis=1),
        )


def place_tokens(is_image: Sequence[bool], grid: tuple[int, int] | None) -> NDArray[np.int64]:
    """`(length, 3)` positions; without a grid an image row counts like text."""
    positions: list[tuple[int, int, int]] = []
    start, row = 0, 0
    for image in is_image:
        if grid is None or not image:
            here = max((max(position) for position in positions), default=-1) + 1
            positions.append((here, here, here))
            start = here + 1
        else:
            positions.append((start, start + row // grid[1], start + row % grid[1]))
            row += 1
    return np.array(positions)


def angles(sizes: Sizes, positions: NDArray[np.int64]) -> Array:
    """`(length, head_dim)` rotation of each element, radians."""
    half = sizes.head_dim // 2
    axes = [0] * half
    if sizes.rope_sections:
        _, rows, columns = sizes.rope_sections
        for i in range(half):
            if i % 3 == 1 and i < 3 * rows:
                axes[i] = 1
            if i % 3 == 2 and i < 3 * columns:
                axes[i] = 2
    rates = sizes.rope_theta ** (-np.arange(0, sizes.head_dim, 2) / sizes.head_dim)
    turned: Array = np.tile(positions[:, axes] * rates, 2)
    return turned


def last_logits(model: Model, prompt: Prompt) -> Array:
    """Logits behind the last token, in float64."""
    sizes = model.sizes
    x = prompt.embeddings.astype(np.float64)
    length = len(x)
    turn = angles(sizes, prompt.positions)
    cos, sin = np.cos(turn), np.sin(turn)
    future = np.triu(np.full((length, length), -np.inf), k=1)
    for i, layer in enumerate(model.layers):
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
        if i < len(prompt.features):
            x = x + prompt.features[i]
    logits: Array = model.head.astype(np.float64) @ rms_norm(x[-1], model.norm)
    return logits


def penalised(logits: Array, tokens: Sequence[int], penalty: float) -> Array:
    """Logits after the repetition penalty: each token of the prompt and of the answer so far, once."""
    seen = sorted({token for token in tokens if token >= 0})
    result: Array = logits.copy()
    result[seen] = np.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    return result


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


def decode_constrained(
    model: Model, prompt: Prompt, form: Form, *, penalty: float = 1.0, penalise_numbers: bool = False
) -> list[Step]:
    """The most probable allowed token at each place of the form."""
    steps: list[Step] = []
    while (place := form([step.token for step in steps])) is not None:
        if len(place.allowed) == 1:
            step = Step(place.allowed[0], 1.0, 1.0, 0.0, 0.0, np.inf)
        else:
            logits = last_logits(model, prompt)
            if penalise_numbers or not place.numbers:
                logits = penalised(logits, prompt.tokens, penalty)
            step = _choose(logits, place.allowed, place.allowed)
        steps.append(step)
        prompt = prompt.followed_by(step.token, model.embeddings[step.token])
    return steps


def decode_greedy(
    model: Model,
    prompt: Prompt,
    form: Form,
    numbers: Sequence[int],
    end: int,
    max_tokens: int,
    *,
    penalty: float = 1.0,
) -> tuple[list[Step], bool]:
    """The most probable of all tokens until `end`, and whether the answer is one of the form.

    Shares and moments are those of the tokens that the place allows, of the numbers where the answer leaves
    the form or has left it.
    """
    steps: list[Step] = []
    in_form = True
    while len(steps) < max_tokens and (not steps or steps[-1].token != end):
        place = form([step.token for step in steps]) if in_form else None
        logits = penalised(last_logits(model, prompt), prompt.tokens, penalty)
        token = int(np.argmax(logits))
        fits = place is not None and token in place.allowed
        measured = place.allowed if place is not None and fits else numbers
        step = _choose(logits, range(model.sizes.vocabulary), measured)
        steps.append(step)
        in_form = in_form and (fits or (place is None and token == end))
        prompt = prompt.followed_by(step.token, model.embeddings[step.token])
    tokens = [step.token for step in steps]
    if not in_form:
        return steps, False
    whole = form(tokens) is None or (tokens[-1] == end and form(tokens[:-1]) is None)
    return steps, whole


def greedy_passes(tokens: Sequence[int], form: Form, end: int, max_tokens: int) -> int:
    """How often a decoder that drafts forced tokens has to run behind the prefix for this answer.

    A run gives the token behind what it was fed, and with each drafted token that turns out right one more.
    """

    def drafted(known: int) -> int | None:
        for count in range(known):
            place = form(tokens[:count])
            if place is None or tokens[count] not in place.allowed:
                return None
        place = form(tokens[:known])
        forced = place is not None and len(place.allowed) == 1 and known + 1 < max_tokens
        return place.allowed[0] if place is not None and forced else None

    passes = known = 0
    while known < len(tokens):
        passes += 1
        while known < len(tokens) and (draft := drafted(known)) not in (None, end):
            if tokens[known] != draft:
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
