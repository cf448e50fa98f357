# SPDX-License-Identifier: Apache-2.0
"""Engine directories: what `engine.json` says, how one is opened, and when it is refused.

Building and running engines do not belong here: no vendor's library is imported.

An engine directory belongs to one bundle and one machine (or one kind of GPU):

    engine.json    the sidecar; the dataclasses below and `edgepose.engine_component` are its description
    NAME.engine    the serialized engine of graph NAME, one for each of `edgepose.bundle.GRAPHS`

Tensor names and types are those of the bundle's graphs, with two differences that come with optimisation
profiles: a profile has a name and a place in its component's list, which is its index in the engine; and a
cache segment of length 0 (prefix or suffix of `llm_decoder`) is given as one slot that `bias` masks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.bundle import MANIFEST_FILE, Bundle
from edgepose.engine_check import Difference, Platform, platform_differences
from edgepose.engine_component import Component, graph_hash
from edgepose.engine_files import load_sidecar
from edgepose.errors import EngineMismatchError
from edgepose.file_hash import hash_file
from edgepose.progress import Progress
from edgepose.records import read_record, write_value

__all__ = [
    "ENGINE_FORMAT",
    "ENGINE_MANIFEST",
    "BundleIdentity",
    "EngineManifest",
    "RecipeIdentity",
    "rebuild_command",
]

ENGINE_FORMAT = 1
"""Version of the sidecar that this module reads and writes."""

ENGINE_MANIFEST = "engine.json"


@dataclass(frozen=True, slots=True)
class BundleIdentity:
    """Which bundle the engines were made from."""

    sha256: str
    """Of `bundle.json`, which has the hashes of all other files."""
    format: int
    family: str
    precision: str
    path: str
    """Where it lay, for the rebuild command."""


@dataclass(frozen=True, slots=True)
class RecipeIdentity:
    """By which recipe."""

    name: str
    numbers: Mapping[str, object]
    """Everything that the recipe says, its bases included."""


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """The whole of `engine.json`."""

    format: int
    bundle: BundleIdentity
    recipe: RecipeIdentity
    components: Mapping[str, Component]
    """By graph name, in the order in which they were built."""
    platform: Platform
    """For what they were built."""
    edgepose: str
    """Version that built them."""
    built: str
    """UTC, ISO 8601."""

    @classmethod
    def read(cls, directory: str | os.PathLike[str], *, check_files: bool = True) -> EngineManifest:
        """Read `engine.json`, check every engine's presence and size, and the hashes of those up to 64 MiB.

        Args:
            directory: written by `edgepose build`.
            check_files: False reads the sidecar alone.

        Raises:
            EngineMismatchError: it is no engine directory, was written by a newer edgepose, or an engine is
                missing, truncated or changed; the message lists every problem.
        """
        root = Path(directory)
        value = load_sidecar(root, ENGINE_MANIFEST)
        version = value.get("format")
        if type(version) is int and version > ENGINE_FORMAT:
            raise EngineMismatchError(
                f"[engine {root}] expected engine format {ENGINE_FORMAT} or older; got {version}, written by "
                f"edgepose {value.get('edgepose', '(unnamed)')}; upgrade edgepose, or build the engines again"
            )
        problems: list[str] = []
        manifest = read_record(cls, value, "", problems)
        if manifest is not None and check_files:
            for component in manifest.components.values():
                problems += component.problems(root)
        if manifest is None or problems:
            raise EngineMismatchError(
                f"[engine {root}] expected a complete engine directory; got {_listed(problems)}; copy it "
                f"again, or rebuild it: {_rebuild(root, manifest)}"
            )
        return manifest

    def write(self, directory: str | os.PathLike[str]) -> Path:
        """Write `engine.json` in one step."""
        target = Path(directory) / ENGINE_MANIFEST
        partial = target.with_suffix(".json.partial")
        text = json.dumps(write_value(self), indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(target)
        return target

    def to_json(self) -> dict[str, Any]:
        """The value to pass to `json.dumps`."""
        written: dict[str, Any] = write_value(self)
        return written

    def check_hashes(self, directory: str | os.PathLike[str], progress: Progress | None = None) -> None:
        """Compare the SHA-256 of every engine with the sidecar, the large ones included.

        Raises:
            EngineMismatchError: at least one differs; the message lists all of them.
        """
        root = Path(directory)
        problems = []
        for component in self.components.values():
            if (got := hash_file(root / component.file, progress)) != component.sha256:
                problems.append(f"{component.file}: expected SHA-256 {component.sha256}; got {got}")
        if problems:
            raise EngineMismatchError(
                f"[engine {root}] expected the engines as they were built; got {_listed(problems)}; copy "
                f"them again, or rebuild: {_rebuild(root, self)}"
            )

    def differences(self, platform: Platform | None, bundle: Bundle | None) -> list[Difference]:
        """Every field that keeps these engines from running here or with this bundle.

        Args:
            platform: what this machine has; its fields that are None are not compared. None compares nothing.
            bundle: that is to be run. None compares nothing.
        """
        found = [] if platform is None else platform_differences(self.platform, platform)
        if bundle is None:
            return found
        manifest = bundle.manifest
        expected = {
            "bundle.family": (self.bundle.family, manifest.family),
            "bundle.precision": (self.bundle.precision, manifest.precision.name),
            "bundle.format": (self.bundle.format, manifest.format_version),
            "bundle.sha256": (self.bundle.sha256, hash_file(bundle.path / MANIFEST_FILE)),
        }
        for graph, component in self.components.items():
            expected[f"{graph}.graph_sha256"] = component.graph_sha256, graph_hash(manifest.files, graph)
        return found + [
            Difference(field, str(built), str(here))
            for field, (built, here) in expected.items()
            if built != here
        ]

    def check(
        self,
        platform: Platform | None,
        bundle: Bundle | None,
        *,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        """Refuse engines that were built for something else; called before any is deserialized.

        Args:
            platform: as for `differences`.
            bundle: as for `differences`.
            directory: where the engines lie, for the message.

        Raises:
            EngineMismatchError: something differs; the message has every field, what was expected, what was
                found, and the command that builds fitting engines.
        """
        found = self.differences(platform, bundle)
        if found:
            where = "" if directory is None else f" {os.fspath(directory)}"
            lines = "".join(
                f"\n  - {item.field}: expected {item.expected}; got {item.found}" for item in found
            )
            path = self.bundle.path if bundle is None else str(bundle.path)
            raise EngineMismatchError(
                f"[engine{where}] expected engines for this machine and bundle; got {len(found)} differing "
                f"field{'s' if len(found) > 1 else ''}:{lines}\nbuild them again here: "
                f"{rebuild_command(path, self.recipe.name, directory)}"
            )


def rebuild_command(bundle: str, recipe: str, directory: str | os.PathLike[str] | None) -> str:
    """What to type to build engines again."""
    out = "" if directory is None else f" --out {os.fspath(directory)}"
    return f"edgepose build {bundle} --recipe {recipe}{out}"


def _rebuild(root: Path, manifest: EngineManifest | None) -> str:
    if manifest is None:
        return f"edgepose build BUNDLE --recipe NAME --out {root}"
    return rebuild_command(manifest.bundle.path, manifest.recipe.name, root)


def _listed(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else "".join(f"\n  - {line}" for line in problems) + "\n"
