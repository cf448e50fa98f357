# SPDX-License-Identifier: Apache-2.0
"""The model families, each one description; what differs between them is data here and branches nowhere.

Reading checkpoints and building graphs do not belong here.
"""

from __future__ import annotations

from types import MappingProxyType

from edgepose.errors import InvalidInputError
from edgepose.export.families.description import CropNumbers, Family
from edgepose.export.families.locllm import LOCLLM, LOCLLM_3D
from edgepose.export.families.posellm import POSELLM

__all__ = ["FAMILIES", "LOCLLM", "LOCLLM_3D", "POSELLM", "CropNumbers", "Family", "assert_family", "family"]

_DESCRIPTIONS = (LOCLLM, LOCLLM_3D, POSELLM)

FAMILIES = MappingProxyType({found.name: found for found in _DESCRIPTIONS if found.answer == "2d"})
"""Every family by name, with its answer in 2-D."""


def family(name: str, answer: str = "2d") -> Family:
    """The family of that name, with that answer.

    Raises:
        InvalidInputError: There is none, or it was not published with such an answer.
    """
    answers = {found.answer: found for found in _DESCRIPTIONS if found.name == name}
    if not answers:
        raise InvalidInputError(
            f"[family] expected one of {', '.join(FAMILIES)}; got {name!r}; pass --family with one of them"
        )
    if answer not in answers:
        raise InvalidInputError(
            f"[family] expected an answer that {name} was published with, {' or '.join(answers)}; got "
            f"{answer!r}; pass --answer with one of them"
        )
    return answers[answer]


def assert_family(chosen: Family, model_type: object, connector_layers: int) -> None:
    """Checks that a checkpoint is of the chosen family.

    Args:
        chosen: The family the user named.
        model_type: `model_type` of `config.json`.
        connector_layers: Linear layers of its connector.

    Raises:
        InvalidInputError: It is not; the message names the family it is of, where there is one.
    """
    if chosen.accepts(model_type, connector_layers):
        return
    others = [other.name for other in FAMILIES.values() if other.accepts(model_type, connector_layers)]
    remedy = f"pass --family {others[0]}" if others else "no family of this version reads such a checkpoint"
    raise InvalidInputError(
        f"[family] expected a {chosen.name} checkpoint: model_type {' or '.join(chosen.model_types)} with "
        f"{chosen.connector_text}; got model_type {model_type!r} with a connector of {connector_layers} "
        f"linear layer{'' if connector_layers == 1 else 's'}; {remedy}"
    )
