# SPDX-License-Identifier: Apache-2.0
"""Patches, learned positions and rotary positions against transformers' Qwen image processor and Qwen3-VL."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepose.errors import InvalidInputError
from edgepose.frame import FocalFrame
from edgepose.patches import grid_positions, grid_rope, patchify

HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def processor_class() -> Any:
    """transformers' image processor on Pillow; it has a module of its own since 5."""
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    for module, name in (
        ("image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil"),
        ("image_processing_qwen2_vl", "Qwen2VLImageProcessor"),
    ):
        try:
            return getattr(importlib.import_module(f"transformers.models.qwen2_vl.{module}"), name)
        except ImportError:
            continue
    pytest.skip("no Qwen2-VL image processor that can be imported")


def reference_patches(
    processor_class: Any, image: PIL.Image.Image, frame: FocalFrame, patch_size: int = 16, **options: Any
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """pixel_values of the reference as (P, C, T, p, p), and its grid of patches."""
    processor = processor_class(
        patch_size=patch_size,
        merge_size=frame.factor // patch_size,
        size={"shortest_edge": frame.min_pixels, "longest_edge": frame.max_pixels},
        **options,
    )
    out = processor(image, return_tensors="np")
    _, rows, cols = (int(n) for n in out["image_grid_thw"][0])
    return out["pixel_values"].reshape(rows * cols, 3, 2, patch_size, patch_size), (rows, cols)


def cut(image: NDArray[np.uint8], frame: FocalFrame) -> PIL.Image.Image:
    """Scaled and cropped, not yet of the model's size: what is given to the reference."""
    scaled = PIL.Image.fromarray(image).resize(frame.scaled_size, PIL.Image.Resampling.LANCZOS)
    (left, top), (width, height) = frame.crop_offset, frame.crop_size
    return scaled.crop((left, top, left + width, top + height))


SMALL = [  # the worked cameras at a quarter or an eighth of their size, pixel limits alike
    ((352, 352), 150, 350, 16),
    ((352, 352), 150, None, 16),
    ((160, 120), 150, None, 16),
    ((160, 120), 131.25, None, 16),
    ((160, 90), 80, None, 64),
    ((160, 90), 112.5, None, 64),
    ((240, 135), 175, None, 64),
    ((480, 270), 375, None, 64),
    ((106, 60), 53, 175, 64),
]
FULL = [((1408, 1408), 600, 1400, 1), ((640, 480), 525, None, 1), ((848, 480), 424, 1400, 1)]


@pytest.mark.parametrize(("camera", "focal", "crop", "share"), [*SMALL, *FULL])
def test_patches_are_those_of_transformers(
    processor_class: Any, camera: tuple[int, int], focal: float, crop: int | None, share: int
) -> None:
    frame = FocalFrame(
        camera,
        focal,
        canonical_focal=1000 / np.sqrt(share),
        crop=crop,
        min_pixels=max(1024, 12_544 // share),
        max_pixels=2_007_040 // share,
    )
    image = noise(*camera)
    expected, (rows, cols) = reference_patches(
        processor_class, cut(image, frame), frame, image_mean=HALF, image_std=HALF
    )
    assert np.array_equal(expected[:, :, 0], expected[:, :, 1])  # a still image, twice
    assert (cols * 16, rows * 16) == frame.model_size
    patches = patchify(frame.apply(image), patch_size=16, merge=2, mean=HALF, std=HALF)
    assert patches.dtype == np.float32 and patches.flags.c_contiguous
    assert patches.tobytes() == np.ascontiguousarray(expected[:, :, 0]).tobytes()


@pytest.mark.parametrize(("patch_size", "merge"), [(14, 2), (8, 4), (16, 1)])
def test_other_patches_and_statistics(processor_class: Any, patch_size: int, merge: int) -> None:
    factor = patch_size * merge
    frame = FocalFrame((90, 130), 700, factor=factor, min_pixels=factor**2, max_pixels=100_000)
    image = noise(90, 130)
    expected, _ = reference_patches(
        processor_class, cut(image, frame), frame, patch_size, image_mean=CLIP_MEAN, image_std=CLIP_STD
    )
    patches = patchify(frame.apply(image), patch_size=patch_size, merge=merge, mean=CLIP_MEAN, std=CLIP_STD)
    assert patches.tobytes() == np.ascontiguousarray(expected[:, :, 0]).tobytes()


def test_a_patch_is_where_the_order_says() -> None:
    pixels = noise(12, 8)
    patches = patchify(pixels, patch_size=2, merge=2, mean=(0, 0, 0), std=(1, 1, 1))
    assert patches.shape == (24, 12)
    # The block at row 1, column 2 of 2x3 blocks; in it the patch below left.
    patch = patches.reshape(2, 3, 2, 2, 3, 2, 2)[1, 2, 1, 0]
    np.testing.assert_allclose(patch, pixels[6:8, 8:10].transpose(2, 0, 1) / 255, rtol=1e-6)


GRIDS = [(2, 2), (4, 2), (6, 10), (46, 60), (88, 88)]


@pytest.mark.parametrize(("rows", "cols"), GRIDS)
@pytest.mark.parametrize(("side", "merge"), [(48, 2), (6, 2), (3, 1)])
def test_positions_are_those_of_transformers(rows: int, cols: int, side: int, merge: int) -> None:
    torch = pytest.importorskip("torch")
    vision = pytest.importorskip("transformers.vision_utils")
    grid = torch.tensor([[1, rows, cols]])
    expected_indices, expected_weights = vision.get_vision_interpolation_indices_and_weights(
        grid, num_grid_per_side=side, mode="bilinear", align_corners=True, spatial_merge_size=merge
    )
    indices, weights = grid_positions(rows, cols, merge=merge, table_side=side)
    assert indices.shape == weights.shape == (4, rows * cols)
    assert indices.dtype == np.int64 and weights.dtype == np.float32
    assert np.array_equal(indices.T, expected_indices.numpy())
    np.testing.assert_allclose(weights.T, expected_weights.numpy(), rtol=0, atol=4e-6)


def vision_model(head_dim: int, side: int) -> Any:
    torch = pytest.importorskip("torch")
    qwen = pytest.importorskip("transformers.models.qwen3_vl.modeling_qwen3_vl")
    torch.manual_seed(3)
    return qwen.Qwen3VLVisionModel._from_config(
        qwen.Qwen3VLVisionConfig(
            depth=1,
            hidden_size=2 * head_dim,
            intermediate_size=8,
            num_heads=2,
            patch_size=4,
            spatial_merge_size=2,
            out_hidden_size=8,
            num_position_embeddings=side**2,
            deepstack_visual_indexes=[0],
        )
    ).eval()


def catch_vision_inputs(model: Any, rows: int, cols: int) -> tuple[Any, Any, Any]:
    """Hidden states with positions added, less the patch embedding, and cos, sin, as the first block gets."""
    torch = pytest.importorskip("torch")
    caught = []

    def catch(_: Any, args: Any, kwargs: Any) -> None:
        cos, sin = kwargs["position_embeddings"]
        caught.append((args[0], cos, sin))

    hook = model.blocks[0].register_forward_pre_hook(catch, with_kwargs=True)
    pixels = torch.zeros(rows * cols, 3 * 2 * 4 * 4)
    with torch.no_grad():
        model(pixels, grid_thw=torch.tensor([[1, rows, cols]]))
        patches = model.patch_embed(pixels)
    hook.remove()
    hidden, cos, sin = caught[0]
    return (hidden - patches).numpy(), cos.numpy(), sin.numpy()


@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (4, 6), (18, 10)])
@pytest.mark.parametrize(("head_dim", "side"), [(8, 6), (64, 48), (72, 4)])
def test_a_vision_model_adds_these_positions_and_turns_by_these_angles(
    rows: int, cols: int, head_dim: int, side: int
) -> None:
    model = vision_model(head_dim, side)
    added, cos, sin = catch_vision_inputs(model, rows, cols)
    indices, weights = grid_positions(rows, cols, merge=2, table_side=side)
    table = model.pos_embed.weight.detach().numpy()
    np.testing.assert_allclose(np.einsum("tp,tph->ph", weights, table[indices]), added, atol=1e-5)
    our_cos, our_sin = grid_rope(rows, cols, merge=2, head_dim=head_dim, theta=10_000)
    assert our_cos.shape == our_sin.shape == (rows * cols, head_dim)
    assert our_cos.dtype == our_sin.dtype == np.float32
    np.testing.assert_allclose(our_cos, cos.reshape(our_cos.shape), atol=1e-5)
    np.testing.assert_allclose(our_sin, sin.reshape(our_sin.shape), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 2, 3]), st.integers(1, 50))
def test_positions_interpolate(rows: int, cols: int, merge: int, side: int) -> None:
    """A table that holds its own coordinates comes out stretched over the grid, corner on corner."""
    rows, cols = rows * merge, cols * merge
    indices, weights = grid_positions(rows, cols, merge=merge, table_side=side)
    assert indices.min() >= 0 and indices.max() < side**2 and weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    table = np.stack(np.divmod(np.arange(side**2), side), axis=-1)
    seen = np.einsum("tp,tpk->pk", weights, table[indices])
    axes = [np.linspace(0, side - 1, count) if count > 1 else np.zeros(1) for count in (rows, cols)]
    raster = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    blocks = raster.reshape(rows // merge, merge, cols // merge, merge, 2).transpose(0, 2, 1, 3, 4)
    np.testing.assert_allclose(seen, blocks.reshape(-1, 2), atol=1e-4)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), "uint8 RGB array; got float32 array of shape"),
        (np.zeros((32, 32), np.uint8), r"uint8 array of shape \(32, 32\)"),
        (None, "got None"),
        (np.zeros((32, 32, 4), np.uint8), r"expected 3 channels .* got an array of shape \(32, 32, 4\)"),
        (np.zeros((32, 40, 3), np.uint8), r"multiples of 16 px; got an array of shape \(32, 40, 3\)"),
        (np.zeros((32, 48, 3), np.uint8), "multiples of 2; got 2x3"),
        (np.zeros((0, 32, 3), np.uint8), "multiples of 2; got 0x2"),
    ],
)
def test_unusable_pixels(pixels: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        patchify(pixels, patch_size=16, merge=2, mean=HALF, std=HALF)


def test_unusable_grids() -> None:
    with pytest.raises(InvalidInputError, match="got 3x4"):
        grid_positions(3, 4, merge=2, table_side=4)
    with pytest.raises(InvalidInputError, match="got 0x4"):
        grid_rope(0, 4, merge=2, head_dim=8, theta=10_000)
    with pytest.raises(InvalidInputError, match="got a side of 0"):
        grid_positions(2, 2, merge=2, table_side=0)
    with pytest.raises(InvalidInputError, match="multiple of 4 values; got 6"):
        grid_rope(2, 2, merge=2, head_dim=6, theta=10_000)
