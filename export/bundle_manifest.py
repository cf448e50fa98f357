# SPDX-License-Identifier: Apache-2.0
"""What a bundle says of itself: the checkpoint's sizes and prompts, where it comes from, how it was rounded.

Writing files, the manifest's included, does not belong here.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepose.bundle import (
    EMBEDDINGS_FILE,
    FORMAT_VERSION,
    GOLDENS_FILE,
    GRAPHS,
    TOKENIZER_FILE,
    DecoderSpec,
    FileSpec,
    Manifest,
    PrecisionSpec,
    graph_file,
)
from edgepose.errors import BundleError, InvalidInputError
from edgepose.export.calibration import Calibration
from edgepose.export.families import Family, Source
from edgepose.export.models import DecoderConfig
from edgepose.export.quantize import BLOCKS
from edgepose.export.weights import ModelWeights

__all__ = ["describe_provenance", "describe_quantization", "draft_manifest"]


def draft_manifest(chosen: Family[Any], spec: PrecisionSpec, source: Source[Any]) -> Manifest:
    """The manifest before there are files, checked, so that nothing is found wrong after the work is done.

    Args:
        chosen: Family of the checkpoint.
        spec: Precision of the bundle.
        source: The opened checkpoint with its options.

    Returns:
        The manifest without hashes, provenance and parity.

    Raises:
        InvalidInputError: The checkpoint or an option is one that a bundle cannot describe.
    """
    codec = chosen.codec.spec(source)
    prompt, keypoints = chosen.questions.specs(source)
    crop, frame = chosen.view.specs(source)
    nothing = FileSpec(sha256="0" * 64, bytes=0)
    names = [*(graph_file(graph) for graph in GRAPHS), EMBEDDINGS_FILE, TOKENIZER_FILE, GOLDENS_FILE]
    draft = Manifest(
        format_version=FORMAT_VERSION,
        family=chosen.name,
        created_by=f"edgepose {importlib.metadata.version('edgepose')}",
        precision=spec,
        crop=crop,
        frame=frame,
        vision=chosen.architecture.vision_spec(source.config),
        decoder=_decoder(source.config.decoder),
        prompt=prompt,
        codec=codec,
        answer_head=chosen.codec.answer_head(codec, source),
        keypoints=keypoints,
        files={name: nothing for name in names},
        provenance={},
        parity={},
    )
    try:
        Manifest.from_json(draft.to_json())
    except BundleError as error:
        raise InvalidInputError(
            f"[export] expected a checkpoint that a bundle can describe; got: {error}"
        ) from error
    return draft


def _decoder(config: DecoderConfig) -> DecoderSpec:
    return DecoderSpec(
        hidden=config.hidden,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        rope_theta=config.rope_theta,
        vocabulary=config.vocabulary,
        max_positions=config.max_positions,
        rope_sections=config.rope_sections,
        deepstack=config.deepstack,
    )


def describe_provenance(source: Source[Any], weights: ModelWeights[Any, Any]) -> dict[str, object]:
    """Where a bundle comes from: files and types of the checkpoint, options, versions."""
    opened = source.checkpoint
    return {
        "checkpoint": opened.path.resolve().name,
        "checkpoint_files": {
            file.name: file.stat().st_size for file in sorted(opened.path.iterdir()) if file.is_file()
        },
        "model_type": str(opened.config.get("model_type")),
        "stored_as": sorted({str(weights.source_dtype(name)).removeprefix("torch.") for name in weights}),
        "adapters_merged_into": len(weights.merged),
        **source.tokenizer.provenance,
        "options": source.options.to_json(),
        "versions": {
            name: importlib.metadata.version(name) for name in ("edgepose", "torch", "onnx", "onnxruntime")
        },
    }


def describe_quantization(
    spec: PrecisionSpec,
    kept_whole: list[str],
    calibration: Calibration | None,
    smoothing: float,
    errors: Mapping[str, float],
) -> dict[str, object]:
    """How weights and activations were rounded; nothing where they were not.

    Args:
        spec: Precision of the bundle.
        kept_whole: Linear layers that were to be quantized and are not.
        calibration: Examples on which ranges were measured, for INT8.
        smoothing: Share of the activations' range that went into the weights, 0 to 1, for INT8.
        errors: For INT8, relative error of each rounded layer by its name.

    Returns:
        Part of the provenance: `quantization`, or nothing.
    """
    found: dict[str, object] = {}
    if spec.weights == "int4":
        found = {
            "quantizer": "onnxruntime MatMulNBitsQuantizer, symmetric, positive scales",
            "blocks": list(BLOCKS),
            "kept_whole": kept_whole,
        }
    elif calibration is not None:
        found = {
            "quantizer": "symmetric, weights by output, activations by tensor at the largest magnitude",
            "smoothing": smoothing,
            "calibration": calibration.to_json(),
            "median_error": round(float(np.median(list(errors.values()))), 4),
            "kept_whole": kept_whole,
        }
    return {"quantization": found} if found else {}
