# SPDX-License-Identifier: Apache-2.0
"""Backends whose decoder works on a device: ONNX Runtime's graphs on the host device, that any machine has.

What they are compared with does not belong here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from edgepose import Localizer
from edgepose._core import Device, DeviceDecoder, Graphs, HostDevice
from edgepose.backends import decoder_dims
from edgepose.backends.onnxruntime import OnnxRuntimeBackend, _BoundGraphs
from edgepose.bundle import ANSWER_HEAD, LLM_DECODER, LM_HEAD
from edgepose.results import Localization

Mode = Literal["constrained", "exact"]


class HostDeviceBackend(OnnxRuntimeBackend):
    """ONNX Runtime's graphs, with caches, logits and choices on a device that is host memory."""

    least_slots = 1
    most_questions = 0
    capture = True
    device: Device
    loop: DeviceDecoder

    def open_device(self) -> tuple[Device, Graphs]:
        """The device, and the graphs on its memory."""
        return HostDevice(), _BoundGraphs(self._sessions, self._passed)

    def decoder(self, alphabets: list[list[int]], *, exact: bool) -> DeviceDecoder:  # type: ignore[override]
        for graph in (LLM_DECODER, LM_HEAD if exact else ANSWER_HEAD):
            self._sessions.load(graph)
        self.device, graphs = self.open_device()
        self.loop = DeviceDecoder(
            self.device,
            graphs,
            decoder_dims(self._bundle),
            self._bundle.embeddings,
            list(self._bundle.manifest.answer_head),
            alphabets,
            least_slots=self.least_slots,
            most_questions=self.most_questions,
            capture=self.capture,
        )
        return self.loop


def on_device(
    kind: type[HostDeviceBackend],
    bundle: Path | str,
    mode: Mode,
    *,
    least_slots: int = 1,
    most_questions: int = 0,
    capture: bool = True,
    **options: bool | int,
) -> tuple[Localizer, HostDeviceBackend]:
    """A localizer whose decoder works on a device, and its backend."""
    localizer = Localizer(bundle, decode=mode, threads=1, **options)  # type: ignore[arg-type]
    backend = kind(localizer.bundle, threads=1)
    backend.least_slots, backend.capture = least_slots, capture and kind.capture
    backend.most_questions = most_questions
    localizer._backend = backend
    localizer._decoder = backend.decoder(localizer._questions.alphabets, exact=mode == "exact")
    return localizer, backend


def expect_same(got: Localization, expected: Localization, *, tolerance: float = 1e-5) -> None:
    """Assert that tokens and passes are equal and statistics agree.

    Args:
        tolerance: of confidences.
    """
    expect_same_answers(got, expected, tolerance=tolerance)
    assert got.passes == expected.passes


def expect_same_answers(got: Localization, expected: Localization, *, tolerance: float = 1e-5) -> None:
    """Assert that tokens are equal and statistics agree.

    Args:
        tolerance: of confidences.
    """
    assert len(got) == len(expected)
    for pose, other in zip(got, expected, strict=True):
        assert [list(k.token_ids) for k in pose] == [list(k.token_ids) for k in other]
        assert pose.token_ids == other.token_ids
        assert [k.name for k in pose] == [k.name for k in other]
        np.testing.assert_allclose(pose.confidence, other.confidence, atol=tolerance)
        np.testing.assert_allclose(pose.xy, other.xy, atol=1e-6)
        for k, o in zip(pose, other, strict=True):
            np.testing.assert_allclose(k.std, o.std, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(k.xyz, o.xyz, atol=1e-6)
            np.testing.assert_allclose(k.xyz_std, o.xyz_std, rtol=1e-3, atol=1e-6)
