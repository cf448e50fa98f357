# SPDX-License-Identifier: Apache-2.0
"""The models that ship with the package, by name.

What a bundle is belongs to `edgepose.bundle`; how these were trained is in each one's MODEL_CARD.md.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFAULT_MODEL", "METRIC_MODEL", "builtin_models", "bundle_path"]

DEFAULT_MODEL = "posellm-nano"
"""What `Localizer()` opens: keypoints of people in an image, by their boxes."""

METRIC_MODEL = "taihri-nano"
"""What `edgepose ask` opens: joints of a person in metres, by names or by a command, with a camera."""

_FOLDER = Path(__file__).parent / "models"


def builtin_models() -> tuple[str, ...]:
    """Names of the models in this installation, in alphabetical order."""
    if not _FOLDER.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in _FOLDER.iterdir() if (entry / "bundle.json").is_file()))


def bundle_path(bundle: str | os.PathLike[str]) -> Path:
    """The directory of a built-in model where `bundle` is the name of one, else `bundle` as a path.

    A directory of your own that has such a name is opened as `./posellm-nano`.
    """
    if isinstance(bundle, str) and bundle in builtin_models():
        return _FOLDER / bundle
    return Path(bundle)
