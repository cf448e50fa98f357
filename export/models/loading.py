# SPDX-License-Identifier: Apache-2.0
"""Fills modules with canonical weights.

Where the weights come from does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["load_module"]

_Module = TypeVar("_Module", bound=nn.Module)


def load_module(make: Callable[[], _Module], prefix: str, weights: Mapping[str, Tensor]) -> _Module:
    """A module with its weights in float32; memory for them is taken once.

    Args:
        make: Makes the module.
        prefix: What stands before the module's own names in the canonical ones.
        weights: Canonical name to tensor; read one at a time.

    Returns:
        The module in evaluation mode, without gradients.
    """
    with torch.device("meta"):
        module = make()
    module.requires_grad_(False)
    state = {name: weights[prefix + name].to(torch.float32) for name in module.state_dict()}
    module.load_state_dict(state, assign=True)
    return module.eval()
