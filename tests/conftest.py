# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test files share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.bundle import GRAPHS, describe_files, graph_file
from edgepose.keypoint_wording import DEFAULT_TEXTS


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data of other makers that is not part of the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture
def manifest_json() -> dict[str, Any]:
    """A valid manifest of a tiny model, without `files`: change what a test is about."""
    return {
        "format_version": 1,
        "family": "locllm",
        "created_by": "edgepose 0.1.0",
        "precision": {"name": "int4", "weights": "int4", "activations": "float32"},
        "crop": {"size": 28, "scale": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "vision": {"patches": 4, "hidden": 16},
        "decoder": {
            "hidden": 8,
            "layers": 2,
            "heads": 4,
            "kv_heads": 2,
            "head_dim": 2,
            "rope_theta": 10000,
            "vocabulary": 40,
            "max_positions": 128,
        },
        "prompt": {
            "format": "keypoint",
            "prefix": [{"tokens": [1]}, {"text": " Image:"}, {"image": 4}],
            "suffix": "Keypoint: {description}\nQuestion: Where is the {name}?\nAnswer:",
        },
        "codec": {
            "kind": "digit",
            "places": [3, 3],
            "open": 30,
            "zero": 10,
            "point": 31,
            "comma": 32,
            "close": 33,
            "digits": list(range(10, 20)),
            "end": 2,
            "pad": 0,
            "answer_tokens": 13,
            "cleanup_spaces": False,
        },
        "answer_head": [*range(10, 20), 30],
        "keypoints": {
            "default": "coco17",
            "texts": {
                n: {"description": t.description, "question": t.asked} for n, t in DEFAULT_TEXTS.items()
            },
            "source": "edgepose",
        },
        "provenance": {"checkpoint": "random", "seed": 7},
        "parity": {"vision_encoder": {"max_error": 1e-5}},
    }


@pytest.fixture
def make_bundle(tmp_path: Path, manifest_json: dict[str, Any]) -> Callable[..., Path]:
    """Write a bundle whose graphs hold no network: it opens, but cannot run.

    Called with a function that changes the manifest, and with arrays or bytes to put in the place of a file.
    """

    def make(
        change: Callable[[dict[str, Any]], object] | None = None,
        embeddings: np.ndarray[Any, Any] | None = None,
    ) -> Path:
        root = tmp_path / "bundle"
        root.mkdir()
        for graph in GRAPHS:
            (root / graph_file(graph)).write_bytes(graph.encode() * 3)
        (root / "llm_decoder.onnx.data").write_bytes(bytes(range(256)))
        np.save(root / "embeddings.npy", np.zeros((40, 8), np.float32) if embeddings is None else embeddings)
        (root / "tokenizer.json").write_text("{}", encoding="utf-8")
        np.savez(root / "goldens.npz", pixels=np.zeros(3, np.float32))
        files = describe_files(root)
        manifest_json["files"] = {name: {"sha256": f.sha256, "bytes": f.bytes} for name, f in files.items()}
        if change is not None:
            change(manifest_json)
        (root / "bundle.json").write_text(json.dumps(manifest_json), encoding="utf-8")
        return root

    return make


@pytest.fixture(scope="session")
def locllm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LocLLM checkpoint of random weights: `.bin` shards, adapters, tokenizer of its own."""
    pytest.importorskip("torch")
    from edgepose.export.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "locllm"
    return write_random_checkpoint(folder, family="locllm", shard_bytes=1 << 20, dtype="float32")


@pytest.fixture(scope="session")
def posellm_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PoseLLM checkpoint of random weights: one safetensors file, float16, legacy tokenizer."""
    pytest.importorskip("torch")
    from edgepose.export.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "posellm"
    return write_random_checkpoint(folder, family="posellm", file_format="safetensors", legacy=True)


@pytest.fixture(scope="session")
def taihri_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TAIHRI checkpoint of random weights: float32 shards, head and embedding table are one."""
    pytest.importorskip("torch")
    from edgepose.export.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "taihri"
    return write_random_checkpoint(folder, family="taihri", shard_bytes=1 << 20, dtype="float32")
