# SPDX-License-Identifier: Apache-2.0
"""The model families, each one description; what differs between them is data here and branches nowhere.

Reading checkpoints and building graphs do not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgepose.errors import InvalidInputError
from edgepose.export.families.description import Family, Source
from edgepose.export.families.locllm import LOCLLM, LOCLLM_3D
from edgepose.export.families.options import Options
from edgepose.export.families.posellm import POSELLM
from edgepose.export.families.taihri import TAIHRI

__all__ = [
    "FAMILIES",
    "LOCLLM",
    "LOCLLM_3D",
    "POSELLM",
    "TAIHRI",
    "Family",
    "Options",
    "Source",
    "assert_family",
    "family",
]

_DESCRIPTIONS: tuple[Family[Any], ...] = (LOCLLM, LOCLLM_3D, POSELLM, TAIHRI)

FAMILIES: Mapping[str, Family[Any]] = MappingProxyType(
    {found.name: found for found in (LOCLLM, POSELLM, TAIHRI)}
)
"""Every family by name, with the answer it is best known for."""


def family(name: str, answer: str | None = None) -> Family[Any]:
    """The family of that name, with that answer.

    Args:
        name: Of the family.
        answer: `2d` or `3d`; default: what the family is best known for.

    Raises:
        InvalidInputError: There is none, or it was not published with such an answer.
    """
    answers = {found.answer: found for found in _DESCRIPTIONS if found.name == name}
    if not answers:
        raise InvalidInputError(
            f"[family] expected one of {', '.join(FAMILIES)}; got {name!r}; pass --family with one of them"
        )
    if answer is None:
        return FAMILIES[name]
    if answer not in answers:
        raise InvalidInputError(
            f"[family] expected an answer that {name} was published with, {' or '.join(answers)}; got "
            f"{answer!r}; pass --answer with one of them"
        )
    return answers[answer]


def assert_family(chosen: Family[Any], model_type: object, connector_layers: int | None = None) -> None:
    """Checks that a checkpoint is of the chosen family.

    Args:
        chosen: The family the user named.
        model_type: `model_type` of `config.json`.
        connector_layers: Linear layers of its connector; None where nobody has counted them.

    Raises:
        InvalidInputError: It is not; the message names the families it may be of, where there are any.
    """
    if chosen.accepts(model_type, connector_layers):
        return
    others = [other.name for other in FAMILIES.values() if other.accepts(model_type, connector_layers)]
    remedy = (
        f"pass --family {' or '.join(others)}"
        if others
        else "no family of this version reads such a checkpoint"
    )
    layers = f"{connector_layers} linear layer{'' if connector_layers == 1 else 's'}"
    raise InvalidInputError(
        f"[family] expected a {chosen.name} checkpoint: {chosen.form}; got model_type {model_type!r}"
        f"{'' if connector_layers is None else f' with a connector of {layers}'}; {remedy}"
    )
