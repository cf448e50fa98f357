# SPDX-License-Identifier: Apache-2.0
"""Exports a checkpoint to a bundle: reads, writes graphs, compares them with PyTorch, hashes, renames.

How each of these is done belongs to the modules it calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.bundle import (
    ANSWER_HEAD,
    CONNECTOR,
    EMBEDDINGS_FILE,
    GOLDENS_FILE,
    GRAPHS,
    LLM_DECODER,
    LM_HEAD,
    PRECISIONS,
    TOKENIZER_FILE,
    VISION_ENCODER,
    PrecisionSpec,
    describe_files,
    graph_file,
    write_manifest,
)
from edgepose.errors import InvalidInputError
from edgepose.export.bundle_manifest import describe_provenance, describe_quantization, draft_manifest
from edgepose.export.bundle_writer import StagedBundle, write_embeddings
from edgepose.export.calibration import Calibration, check_calibration, prepare_decoder, unfinished_bundle
from edgepose.export.checkpoint import open_checkpoint
from edgepose.export.families import Family, Options, Source, assert_family
from edgepose.export.families import family as family_named
from edgepose.export.goldens import write_goldens
from edgepose.export.graphs.heads import write_head
from edgepose.export.graphs.llama import write_llm_decoder
from edgepose.export.parity import check_parity
from edgepose.export.peak_memory import peak_rss_bytes
from edgepose.export.smoothing import SmoothedDecoder
from edgepose.export.weights import ModelWeights
from edgepose.progress import Progress

__all__ = ["ExportReport", "export_bundle"]


_SMOOTHING = 0.7
"""Chosen by the errors of layers and by distances from float32 answers: see `benchmarks/precisions.py`."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export made and what it took."""

    bundle: Path
    files: Mapping[str, int]
    """Size of every file in bytes, the manifest left out."""
    parity: Mapping[str, Mapping[str, float]]
    """By graph: `error` against PyTorch with the stored weights, `tolerance`, and for quantized graphs
    `quantization_error` against the checkpoint's weights; worst row, relative to its length."""
    kept_whole: tuple[str, ...]
    """Linear layers of the decoder that were to be quantized and are not: no INT4 block divides their width,
    or INT8 activations would cost more than INT4 weights do."""
    seconds: float
    peak_rss_bytes: int
    """Largest resident memory of this process so far."""

    def to_json(self) -> dict[str, Any]:
        """The report for `json.dumps`."""
        return {**asdict(self), "bundle": str(self.bundle)}


def export_bundle(
    *,
    family: str,
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    precision: str = "fp32",
    keypoint_texts: str | os.PathLike[str] | None = None,
    prompt_format: str | None = None,
    answer: str | None = None,
    crop: int | None = None,
    answer_layout: str | os.PathLike[str] | None = None,
    calibration: Calibration | None = None,
    smoothing: float | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Exports a published checkpoint to a bundle.

    Weights are read, converted and written one at a time. Everything is written into a hidden directory
    beside `out`, which is renamed at the end; nothing is left of an export that fails.

    Args:
        family: `posellm`, `locllm` or `taihri`. Options that a family has no use for are refused.
        checkpoint: Directory with `config.json`, weights and tokenizer.
        out: Directory to make.
        precision: One of `PRECISIONS`: `fp16`, `int4-fp16` and `int8-fp16` are for GPUs, the others for CPUs.
        keypoint_texts: The authors' `constants.py` or a JSON file; default: the package's own wording.
        prompt_format: `keypoint`, `simple` or `llama2`; default: the family's.
        answer: `2d`, or `3d` for weights trained to add a depth relative to the root joint; a checkpoint does
            not say which it is. Default: the family's.
        crop: Longest side of a scaled frame, pixels: what is longer is cut around the centre, as some
            published evaluations do (1400). Default: nothing is cut.
        answer_layout: How answers are set: `compact`, `spaced`, an example answer as text with its special
            tokens or as a JSON list of token ids, or a file with one. Default: `compact`.
        calibration: Examples on which the ranges of activations are measured, `edgepose.examples`; for INT8
            precisions, which round activations, and for no others.
        smoothing: How much of what makes activations hard to round goes into the weights, 0 to 1; for INT8
            precisions. Default: 0.7.
        force: Replace a bundle that is at `out`.
        progress: Called with stage, work done and work in all.

    Returns:
        Sizes, parity, time and memory.

    Raises:
        InvalidInputError: An argument, or something in the checkpoint, cannot be used.
        EdgePoseError: A graph does not agree with PyTorch.
    """
    started = time.monotonic()
    spec = PRECISIONS.get(precision)
    if spec is None:
        raise InvalidInputError(
            f"[export] expected a precision out of {', '.join(PRECISIONS)}; got {precision!r}; "
            "name one of them"
        )
    check_calibration(spec, calibration)
    smoothing = _SMOOTHING if smoothing is None else smoothing
    chosen = family_named(family, answer)
    options = Options(keypoint_texts, prompt_format, crop, answer_layout)
    options.refuse_others(chosen.options, chosen.name)
    _refuse_checkpoint_as_out(Path(checkpoint), Path(out))
    with StagedBundle(out, force=force) as staged:
        opened = open_checkpoint(checkpoint)
        model_type = opened.config.get("model_type")
        assert_family(chosen, model_type)
        weights = ModelWeights(opened, chosen.architecture, dtype=None)
        if chosen.connector is not None:
            assert_family(chosen, model_type, weights.config.connector.layers)
        tokenizer = chosen.load_tokenizer(opened)
        rows = weights.shape("decoder.embed_tokens.weight")[0], weights.shape("lm_head.weight")[0]
        tokenizer.check_vocabulary(*rows)
        source = Source(opened, weights.config, tokenizer, chosen.keypoint_set, options)
        draft = draft_manifest(chosen, spec, source)

        table = weights["decoder.embed_tokens.weight"]
        write_embeddings(staged.path / EMBEDDINGS_FILE, table, np.dtype(spec.activations))
        del table
        tokenizer.write(staged.path / TOKENIZER_FILE)
        decoder = SmoothedDecoder(weights, {}, {})
        if calibration is not None:
            measured = _stage(progress, "measure activations")
            unfinished = unfinished_bundle(staged.path, draft)
            decoder = prepare_decoder(
                unfinished, chosen.architecture, weights, calibration, strength=smoothing, progress=measured
            )
        kept_whole = _write_graphs(staged.path, chosen, weights, decoder, spec, draft.answer_head, progress)
        found, goldens = check_parity(
            staged.path,
            chosen.architecture,
            weights.config,
            decoder.weights,
            spec,
            draft.answer_head,
            progress=_stage(progress, "compare with PyTorch"),
        )
        write_goldens(staged.path / GOLDENS_FILE, goldens)

        parity = {
            graph: {key: value for key, value in asdict(result).items() if value is not None}
            for graph, result in found.items()
        }
        manifest = replace(
            draft,
            files=describe_files(staged.path, progress),
            parity=parity,
            provenance={
                **describe_provenance(source, weights),
                **describe_quantization(spec, kept_whole, calibration, smoothing, decoder.errors),
            },
        )
        write_manifest(staged.path, manifest)
        bundle = staged.commit()
    return ExportReport(
        bundle=bundle,
        files={name: entry.bytes for name, entry in manifest.files.items()},
        parity=parity,
        kept_whole=tuple(kept_whole),
        seconds=time.monotonic() - started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def _write_graphs(
    folder: Path,
    chosen: Family[Any],
    weights: ModelWeights[Any, Any],
    decoder: SmoothedDecoder,
    spec: PrecisionSpec,
    answer_head: tuple[int, ...],
    progress: Progress | None,
) -> list[str]:
    """Writes the five graphs; returns the linear layers that stayed whole."""
    paths = {graph: folder / graph_file(graph) for graph in GRAPHS}
    architecture, config = chosen.architecture, weights.config
    architecture.write_vision_encoder(
        paths[VISION_ENCODER], config, weights, spec, progress=_stage(progress, f"write {VISION_ENCODER}")
    )
    architecture.write_connector(paths[CONNECTOR], config, weights, spec)
    kept_whole = write_llm_decoder(
        paths[LLM_DECODER],
        config.decoder,
        decoder.weights,
        spec,
        steps=decoder.steps,
        progress=_stage(progress, f"write {LLM_DECODER}"),
    )
    head = weights["lm_head.weight"]
    write_head(paths[LM_HEAD], head, spec)
    write_head(paths[ANSWER_HEAD], head, spec, token_ids=answer_head)
    return kept_whole


def _refuse_checkpoint_as_out(checkpoint: Path, out: Path) -> None:
    source, target = checkpoint.resolve(), out.resolve()
    if target == source or target in source.parents:
        raise InvalidInputError(
            f"[export] expected a bundle directory apart from the checkpoint; got {out}, which is or holds "
            f"{checkpoint}; choose another --out"
        )


def _stage(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
