# SPDX-License-Identifier: Apache-2.0
"""Types of the C++ core as Python sees them; `test_core_types` compares them with the compiled module.

What the functions do is said where they are written: cpp/include/edgepose and cpp/bindings.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IMAGE_TOKEN: Final[int]

class EdgePoseError(Exception): ...
class InvalidInputError(EdgePoseError, ValueError): ...
class BundleError(EdgePoseError, ValueError): ...
class EngineMismatchError(EdgePoseError, ValueError): ...
class BackendUnavailableError(EdgePoseError, ImportError): ...
class BackendError(EdgePoseError, RuntimeError): ...
class DecodeError(EdgePoseError, RuntimeError): ...

class Choice:
    def __init__(
        self,
        token: int,
        probability: float = 1.0,
        share: float = 1.0,
        mean: float = 0.0,
        variance: float = 0.0,
    ) -> None: ...
    @property
    def token(self) -> int: ...
    @property
    def probability(self) -> float: ...
    @property
    def share(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def variance(self) -> float: ...

class Answer:
    def __init__(self, choices: Sequence[Choice], follows_form: bool) -> None: ...
    @property
    def tokens(self) -> list[int]: ...
    @property
    def choices(self) -> list[Choice]: ...
    @property
    def follows_form(self) -> bool: ...

class Number:
    @property
    def value(self) -> float: ...
    @property
    def expected(self) -> float: ...
    @property
    def deviation(self) -> float: ...

class Form:
    # Made by codecs.
    @property
    def longest(self) -> int: ...
    @property
    def looks(self) -> int: ...

class DigitCodec:
    def __init__(
        self,
        *,
        places: Sequence[int],
        open: int,
        zero: int,
        point: int,
        comma: int,
        close: int,
        digits: Sequence[int],
    ) -> None: ...
    @property
    def form(self) -> Form: ...
    @property
    def alphabets(self) -> list[list[int]]: ...
    @property
    def length(self) -> int: ...
    @property
    def places(self) -> list[int]: ...
    def encode(self, numbers: Sequence[float]) -> list[int]: ...
    def read(self, answer: Answer) -> list[Number]: ...

class BinCodec:
    def __init__(self, *, low: float, high: float, tokens: Sequence[int]) -> None: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def count(self) -> int: ...
    def decode(self, bin: int) -> float: ...
    def encode(self, number: float) -> int: ...
    def encode_floor(self, number: float) -> int: ...
    def read(self, choice: Choice) -> Number: ...

class BlockPoint:
    @property
    def joint(self) -> int: ...
    @property
    def xy(self) -> list[Number]: ...
    @property
    def xyz(self) -> list[Number]: ...
    @property
    def probability(self) -> float: ...

class BlockAnswer:
    @property
    def box(self) -> list[Number]: ...
    @property
    def points(self) -> list[BlockPoint]: ...

class BlockCodec:
    def __init__(
        self,
        *,
        bins: Sequence[int],
        joints: Sequence[int],
        markers: Mapping[str, int],
        end: int,
        blocks: Sequence[str],
        separators: Mapping[str, Sequence[int]],
    ) -> None: ...
    @property
    def alphabets(self) -> list[list[int]]: ...
    def asked(self, joints: Sequence[int]) -> Form: ...
    def free(self) -> Form: ...
    def read(self, answer: Answer) -> BlockAnswer: ...

class TensorView:
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> list[int]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def address(self) -> int: ...
    @property
    def array(self) -> NDArray[Any]: ...

class Graphs:
    # Subclasses define
    #   bind(self, graph: str, inputs: list[TensorView], outputs: list[TensorView]) -> int
    #   run(self, handle: int) -> None
    #   release(self) -> None
    # and may define
    #   passed(self, handle: int) -> None
    def __init__(self) -> None: ...

class DecoderDims:
    def __init__(
        self,
        *,
        hidden: int,
        layers: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        vocabulary: int,
        rope_theta: float,
        rope_sections: Sequence[int] = (),
        deepstack: int = 0,
    ) -> None: ...

class PassCount:
    @property
    def prefix(self) -> int: ...
    @property
    def suffix(self) -> int: ...
    @property
    def decode(self) -> int: ...

class DecodeSeconds:
    @property
    def prefix(self) -> float: ...
    @property
    def suffix(self) -> float: ...
    @property
    def decode(self) -> float: ...
    @property
    def graphs(self) -> float: ...

class DraftCount:
    @property
    def offered(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def free(self) -> int: ...

class Decoding:
    @property
    def answers(self) -> list[Answer]: ...
    @property
    def passes(self) -> PassCount: ...
    @property
    def seconds(self) -> DecodeSeconds: ...
    @property
    def drafts(self) -> DraftCount: ...

class DecoderLoop:
    def decode(
        self,
        *,
        form: Form,
        prefix: Sequence[int],
        image: NDArray[np.floating] | DeviceArray | None,
        image_grid: tuple[int, int] | None = None,
        deepstack: Sequence[NDArray[np.floating] | DeviceArray] = (),
        questions: Sequence[Sequence[int]],
        drafts: Sequence[Sequence[int]] = (),
        offers: Sequence[int] = (),
        exact: bool,
        max_tokens: int,
        end: int,
        max_positions: int,
        repetition_penalty: float = 1.0,
        penalise_numbers: bool = False,
        image_token: int = -1,
    ) -> Decoding: ...
    def groups(self, questions: int) -> int: ...

class HostDecoder(DecoderLoop):
    def __init__(
        self,
        graphs: Graphs,
        dims: DecoderDims,
        embeddings: NDArray[np.floating],
        answer_head: Sequence[int],
        alphabets: Sequence[Sequence[int]],
    ) -> None: ...

class DeviceCounts:
    @property
    def synchronisations(self) -> int: ...
    @property
    def launches(self) -> int: ...
    @property
    def captures(self) -> int: ...
    @property
    def replays(self) -> int: ...
    @property
    def allocations(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class PixelView:
    def __init__(self, address: int, height: int, width: int, strides: Sequence[int]) -> None: ...

class Device:
    @property
    def counts(self) -> DeviceCounts: ...
    def synchronise(self) -> None: ...
    def warp(
        self,
        frame: PixelView,
        inverse: Sequence[float],
        mean: Sequence[float],
        std: Sequence[float],
        target: DeviceArray,
    ) -> None: ...
    def resample(
        self,
        frame: PixelView,
        vertical: bool,
        first: int,
        weights: int,
        taps: int,
        target: PixelView,
    ) -> None: ...
    def cut_patches(
        self, frame: PixelView, patch: int, merge: int, levels: int, target: DeviceArray
    ) -> None: ...

class HostDevice(Device):
    def __init__(self) -> None: ...

class DeviceArray:
    def __init__(self, address: int, shape: Sequence[int], dtype: str) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...

class DeviceDecoder(DecoderLoop):
    def __init__(
        self,
        device: Device,
        graphs: Graphs,
        dims: DecoderDims,
        embeddings: NDArray[np.floating],
        answer_head: Sequence[int],
        alphabets: Sequence[Sequence[int]],
        *,
        least_slots: int = 0,
        most_slots: int = 0,
        most_questions: int = 0,
        capture: bool = True,
    ) -> None: ...
    @property
    def captures(self) -> int: ...
