# SPDX-License-Identifier: Apache-2.0
"""How much memory building and running take, how much there is, and what to do where it is too little.

What a machine is besides its memory does not belong here: see `edgepose.engines.machine`.

Building holds a graph's weights several times, as the compiler keeps them, as it lays them out, and in the
serialized engine, and something for each node at every profile. Graphs are built one after the other, so only
the largest counts. Where the GPU shares the host's memory, as on Jetson, all is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.bundle import EMBEDDINGS_FILE, Bundle
from edgepose.engines.lengths import Lengths
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendError
from edgepose.tensorrt_library import RuntimeName

__all__ = [
    "ComponentMemory",
    "MemoryEstimate",
    "estimate_memory",
    "free_memory",
    "peak_memory",
    "refuse_if_short",
]

LIBRARY_BYTES = 450 << 20
"""Of a process that has loaded a compiler, and what the compiler takes for any graph."""

WEIGHTS_FACTOR: Mapping[RuntimeName, float] = {"tensorrt": 3.6, "tensorrt_rtx": 3.4}
NODE_BYTES = 512 << 10
"""Bytes while building per byte of weights, and per node of the graph. TensorRT-RTX 1.7 without a GPU: a line
through what benchmarks/engines.py measured at the published sizes, raised until no graph took more; 8 %
above the two whole INT4 decoders, more above the others. TensorRT: not measured here; users on Jetson report
three to four times the weights."""

PACKING = 1.4
SMALLEST_SCRATCH = 40 << 20
"""Activations of an engine are at most `PACKING` times what lives at one time, and `SMALLEST_SCRATCH` bytes:
measured on all families with TensorRT-RTX 1.4 to 1.7, where fusing mostly needs less."""


@dataclass(frozen=True, slots=True)
class ComponentMemory:
    """What one graph takes."""

    weights: int
    """Bytes."""
    building: int
    """Bytes while it is built, the library's included."""
    activations: int
    """Bytes at the largest shapes, at most."""

    @classmethod
    def of(cls, runtime: RuntimeName, *, weights: int, nodes: int, live: int) -> ComponentMemory:
        """From bytes of weights, nodes of the graph, and bytes of values that live at one time."""
        building = LIBRARY_BYTES + int(WEIGHTS_FACTOR[runtime] * weights) + NODE_BYTES * nodes
        return cls(weights, building, int(PACKING * live) + SMALLEST_SCRATCH)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a bundle takes by a recipe; bytes."""

    components: Mapping[str, ComponentMemory]
    cache: int
    """Keys and values at the largest shapes, and as many again for one pass's new ones."""
    table: int
    """The embedding table, which lies beside the engines."""

    @property
    def build(self) -> int:
        """Building, graph by graph."""
        return max((part.building for part in self.components.values()), default=LIBRARY_BYTES)

    @property
    def run(self) -> int:
        """Running: all weights, the caches, and the activations of the graph that needs most."""
        return LIBRARY_BYTES + self.weights + self.cache + self.activations

    @property
    def weights(self) -> int:
        """Of all graphs, both heads included, and the embedding table."""
        return self.table + sum(part.weights for part in self.components.values())

    @property
    def activations(self) -> int:
        """Of the graph that needs most: they share their scratch memory."""
        return max((part.activations for part in self.components.values()), default=0)


def estimate_memory(
    bundle: Bundle, recipe: Recipe, lengths: Lengths, components: Mapping[str, ComponentMemory]
) -> MemoryEstimate:
    """Adds up what building and running take."""
    spec = bundle.manifest.decoder
    width = 4 if bundle.manifest.precision.activations == "float32" else 2
    token = 2 * spec.layers * spec.kv_heads * spec.head_dim * width
    rows = lengths.questions.high
    tokens = lengths.prefix.high + rows * lengths.slots.high
    fresh = max(lengths.prefix.high, rows * lengths.draft.high)
    table = bundle.manifest.files[EMBEDDINGS_FILE].bytes
    return MemoryEstimate(components, token * (tokens + fresh), table)


def free_memory() -> int:
    """Bytes that a process may still take here, by the kernel's count and its control group's limit."""
    counts = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        counts[name] = int(rest.split()[0]) * 1024
    free = counts["MemAvailable"]
    for limit, used in _group_limits():
        free = min(free, max(0, limit - used))
    return free


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes; files that are mapped count.

    Not from getrusage: on Linux that keeps the peak of the process which started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def refuse_if_short(
    estimate: MemoryEstimate,
    bundle: Bundle,
    recipe: Recipe,
    *,
    free: int,
    building: Sequence[str],
    device: int | None = None,
) -> None:
    """Stops before memory runs out.

    Args:
        estimate: of all graphs.
        bundle: for advice.
        recipe: its target's memory, where it says any.
        free: bytes that may be taken here.
        building: graphs that are to be built here; none for a check.
        device: bytes of the GPU that engines are built for, where there is one.

    Raises:
        BackendError: building needs more than is free, or running more than the target has; with the numbers
            and what to do.
    """
    if building:
        largest = max(building, key=lambda name: estimate.components[name].building)
        needed = estimate.components[largest].building
        if needed > free:
            raise BackendError(
                f"[memory] expected {_size(needed)} of free memory to build {largest} "
                f"({_size(estimate.components[largest].weights)} of weights); got {_size(free)}; close other "
                f"programs, add swap, or {_lighter(bundle)}"
            )
    wanted = recipe.target.memory_gib
    target = device if wanted is None else int(wanted * 2**30)
    if target is not None and estimate.run > target:
        parts = {
            "weights": estimate.weights,
            "caches": estimate.cache,
            "activations": estimate.activations,
        }
        listed = ", ".join(f"{name} {_size(count)}" for name, count in parts.items())
        advice = _lighter(bundle)
        if parts["weights"] < parts["caches"] + parts["activations"]:
            advice = _shorter(bundle, recipe)
        raise BackendError(
            f"[memory] expected engines that run in the {_size(target)} of "
            f"{'this GPU' if wanted is None else f'recipe {recipe.name}'}; got "
            f"{_size(estimate.run)} ({listed}, library {_size(LIBRARY_BYTES)}); {advice}"
        )


def _lighter(bundle: Bundle) -> str:
    precision = bundle.manifest.precision
    if precision.weights != "int4":
        return (
            "export the bundle with --precision int4-fp16, whose decoder has a fraction of the weights of "
            f"{precision.name}"
        )
    return "take a smaller model: the weights are INT4 already"


def _shorter(bundle: Bundle, recipe: Recipe) -> str:
    if bundle.manifest.frame is not None:
        tokens = recipe.shapes.image_tokens or "the most of the bundle"
        return f"lower shapes.image_tokens of the recipe (now {tokens})"
    questions = recipe.shapes.questions or "all of the default set"
    return f"lower shapes.questions of the recipe (now {questions})"


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 1 << 30 else f"{count / 2**20:.0f} MiB"


def _group_limits() -> list[tuple[int, int]]:
    """(limit, used) of the control groups, version 2 and 1, that have a limit; cached files do not count."""
    found = []
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        root = Path("/sys/fs/cgroup")
        try:
            most, now = (root / limit).read_text().strip(), int((root / used).read_text())
            lines = (line.split() for line in (root / stat).read_text().splitlines())
            cached = {name: int(value) for name, value in lines}.get("inactive_file", 0)
        except (OSError, ValueError):
            continue
        if most.isdigit() and int(most) < 1 << 60:
            found.append((int(most), now - cached))
    return found
