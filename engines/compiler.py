# SPDX-License-Identifier: Apache-2.0
"""One graph through NVIDIA's parser and compiler, and what they object to as one readable message.

Which graphs, where their engines go and whether memory suffices does not belong here: see
`edgepose.engines.build`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgepose.engine_component import Profile, Tensor
from edgepose.engines.live_values import live_bytes
from edgepose.engines.messages import abridged, without_noise
from edgepose.engines.onnx_graph import OnnxGraph, Value
from edgepose.engines.progress_monitor import monitor_of
from edgepose.engines.recipe import Recipe
from edgepose.errors import BackendError
from edgepose.tensorrt_library import Library, quiet

__all__ = ["Compiled", "Compiler"]

_POINTS = ("smallest", "usual", "largest")
_LARGEST_MESSAGES = 6


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came out for one graph."""

    engine: Any
    """The serialized engine, a buffer that is not copied: it may have gigabytes."""
    tensors: tuple[Tensor, ...]
    device_memory: int
    """Bytes; -1 where the compiler did not say."""


@dataclass(slots=True)
class _Heard:
    """What the library said while it worked."""

    errors: list[str] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)

    def __call__(self, severity: int, line: str) -> None:
        if severity <= 1:
            self.errors.append(line)
        elif found := re.fullmatch(r"Total Activation Memory: (\d+) bytes", line.strip()):
            self.activations.append(int(found[1]))


class Compiler:
    """A parsed, strongly typed network of one graph.

    Args:
        library: whose parser and compiler.
        graph: to parse.

    Raises:
        BackendError: the parser refuses the graph; the message has node, operator and the shapes it is given.
    """

    def __init__(self, library: Library, graph: OnnxGraph) -> None:
        self._library, self._graph = library, graph
        trt = library.module
        self._heard = _Heard()
        with library.listening(self._heard), quiet():
            try:
                self._builder = trt.Builder(library.logger)
            except TypeError as error:  # what the bindings make of a constructor that returns nothing
                raise self._refused("to start its builder", []) from error
            typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
            self._network = self._builder.create_network(0 if typed is None else 1 << int(typed))
            self._parser = trt.OnnxParser(self._network, library.logger)
            if not self._parser.parse_from_file(str(graph.path)):
                raise self._refused(
                    "to parse the graph", [self._parsing_error(i) for i in range(self._parser.num_errors)]
                )

    def activation_bytes(self, profiles: Sequence[Profile]) -> int:
        """Checks shapes at every point of every profile, without compiling.

        Returns:
            The most memory that intermediate values take at the largest shapes, were nothing fused; bytes.

        Raises:
            BackendError: the network cannot take the shapes of a profile; the message has the profile's
                point, node, operator and shapes.
        """
        network = self._network
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        dynamic = [tuple(item.shape) for item in inputs]
        most = 0
        try:
            for profile in profiles:
                self._check_order(profile)
                for point in range(len(_POINTS)):
                    for item in inputs:
                        item.shape = profile.shapes[item.name][point]
                    self._check_point(profile, point)
                most = max(most, live_bytes(self._library.module, network))
        finally:
            for item, shape in zip(inputs, dynamic, strict=True):
                item.shape = shape
        return most

    def compile(
        self,
        profiles: Sequence[Profile],
        recipe: Recipe,
        *,
        timing_cache: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Compiled:
        """Compiles the network.

        Args:
            profiles: in the order of their indices.
            recipe: options of the compiler, and the GPU where it need not be at hand.
            timing_cache: see `Compiler.config`.
            progress: called with steps done and steps in all, of 1000.

        Raises:
            BackendError: the compiler refuses; the message has what it says, with nodes and their shapes.
        """
        trt = self._library.module
        self._heard.errors.clear()
        self._heard.activations.clear()
        with self._library.listening(self._heard), quiet():
            config = self.config(recipe)
            for profile in profiles:
                self._check_order(profile)
                added = self._builder.create_optimization_profile()
                for name, (low, usual, high) in profile.shapes.items():
                    added.set_shape(name, low, usual, high)
                if config.add_optimization_profile(added) < 0:
                    raise self._refused(f"to take profile {profile.name}", [abridged(profile.shapes)])
            if timing_cache is not None:
                timing_cache.attach(config)
            monitor = None if progress is None else monitor_of(trt)(progress)
            config.progress_monitor = monitor
            serialized = self._builder.build_serialized_network(self._network, config)
            if monitor is not None and monitor.failure is not None:
                raise monitor.failure
            if serialized is None:
                raise self._refused(
                    "to compile the graph", [self._with_shapes(line) for line in self._heard.errors]
                )
            if timing_cache is not None:
                timing_cache.collect(config)
        return Compiled(serialized, self._tensors(), max(self._heard.activations, default=-1))

    def config(self, recipe: Recipe) -> Any:
        """The compiler's options."""
        trt = self._library.module
        config = self._builder.create_builder_config()
        config.builder_optimization_level = recipe.build.optimization
        if recipe.build.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.build.workspace_mib << 20)
        # float32 stays float32: inputs of products cut to TF32's 10 bits are further from PyTorch than a
        # bundle's own checks allow. No product of a float16 bundle is in float32.
        config.clear_flag(trt.BuilderFlag.TF32)
        if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
            # TensorRT-RTX: contexts work in memory they are given; without that nothing can be captured.
            config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        capability = recipe.target.compute_capability
        if capability is not None and hasattr(config, "set_compute_capability"):
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, _sm(capability)), 0)
        return config

    # What the network holds ---------------------------------------------------------------------------------

    def _tensors(self) -> tuple[Tensor, ...]:
        network = self._network
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        return tuple(
            Tensor(
                item.name, "input" if number < len(inputs) else "output", self._dtype(item), tuple(item.shape)
            )
            for number, item in enumerate([*inputs, *outputs])
        )

    def _dtype(self, tensor: Any) -> str:
        name = str(tensor.dtype.name).lower()
        return {"float": "float32", "half": "float16", "bf16": "bfloat16"}.get(name, name)

    def _check_order(self, profile: Profile) -> None:
        names = [self._network.get_input(index).name for index in range(self._network.num_inputs)]
        wrong = [f"no shapes for input {name}" for name in names if name not in profile.shapes]
        for name, sizes in profile.shapes.items():
            if any(not a <= b <= c for a, b, c in zip(*sizes, strict=True)):
                wrong.append(f"{name} is {sizes[0]} at least, {sizes[1]} usually, {sizes[2]} at most")
        if wrong:
            raise self._refused(f"to take profile {profile.name}, whose shapes must rise", wrong)

    def _check_point(self, profile: Profile, point: int) -> None:
        network = self._network
        self._heard.errors.clear()
        wrong = None
        with self._library.listening(self._heard):
            for index in range(network.num_layers):
                layer = network.get_layer(index)
                shapes = [_shape_of(layer.get_output(i)) for i in range(layer.num_outputs)]
                if any(shape is None or min(shape, default=1) < 0 for shape in shapes):
                    wrong = layer
                    break
        if wrong is None:
            return
        where = f"{_POINTS[point]} shapes of profile {profile.name}"
        at = {item: sizes[point] for item, sizes in profile.shapes.items()}
        taken = [wrong.get_input(i) for i in range(wrong.num_inputs)]
        given = ", ".join(f"{item.name} {list(_shape_of(item) or ())}" for item in taken if item is not None)
        lines = [f"at {wrong.name} ({wrong.type.name.lower()}) of {given}"]
        lines += [without_noise(line) for line in self._heard.errors]
        raise self._refused(f"to take the {where}", [*lines, f"inputs {abridged(at)}"])

    # Messages -----------------------------------------------------------------------------------------------

    def _parsing_error(self, index: int) -> str:
        error = self._parser.get_error(index)
        name = error.node_name() if hasattr(error, "node_name") else ""
        where = self._graph.describe(name, self._values()) or (
            f"node {error.node()}" if error.node() >= 0 else ""
        )
        said = without_noise(error.desc())
        return f"{where}: {said} ({error.code().name})" if where else f"{said} ({error.code().name})"

    def _with_shapes(self, line: str) -> str:
        text = without_noise(line)
        nodes = (self._graph.describe(name, self._values()) for name in list(self._graph.named_in(text))[:2])
        named = "; ".join(node for node in nodes if node is not None)
        return f"{text} [{named}]" if named else text

    def _values(self) -> Mapping[str, Value]:
        try:
            return self._graph.values
        except ValueError:  # the graph is what is wrong
            return {}

    def _refused(self, what: str, lines: Sequence[str]) -> BackendError:
        said = [line for line in dict.fromkeys(lines or self._heard.errors) if line] or ["no reason given"]
        several = "".join(f"\n  - {line}" for line in said[:_LARGEST_MESSAGES])
        listed = f" {said[0]}; " if len(said) == 1 else f"{several}\n"
        return BackendError(
            f"[{self._library.name} {self._graph.name}] expected {self._library.name} "
            f"{self._library.version} {what}; got:{listed}export the bundle again with this edgepose, or "
            "report the graph"
        )


def _shape_of(tensor: Any) -> tuple[int, ...] | None:
    """None where the library cannot tell, because something before it does not fit."""
    try:
        return tuple(tensor.shape)
    except (RuntimeError, ValueError):  # older versions count the dimensions as -1
        return None


def _sm(capability: str) -> str:
    return "SM" + capability.replace(".", "")
