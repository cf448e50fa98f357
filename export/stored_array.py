# SPDX-License-Identifier: Apache-2.0
"""Tensors as the arrays that a bundle stores: in another type, and finite in it.

Where they are stored does not belong here; nor does quantization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepose.errors import InvalidInputError

__all__ = ["to_array"]


def to_array(name: str, tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A tensor of any float type as an array.

    Args:
        name: For the message.
        tensor: Any shape.
        dtype: float32 or float16.

    Raises:
        InvalidInputError: A value is no number, or too large for the type.
    """
    wide = tensor.detach().to(torch.float32)
    with np.errstate(over="ignore"):
        array = wide.numpy().astype(dtype, copy=False)
    if not np.isfinite(array).all():
        largest = float(wide.abs().max())
        raise InvalidInputError(
            f"[export] expected the values of {name} to be finite in {dtype}; the largest magnitude is "
            f"{largest:g}; choose a precision that stores float32, or mend the checkpoint"
        )
    return array
