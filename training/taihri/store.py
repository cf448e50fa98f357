# SPDX-License-Identifier: Apache-2.0
"""Frames on disk: made once, by as many processes as one likes, read many times.

How frames are made does not belong here: see `scenes`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from edgepose.training.taihri.frames import Frames

__all__ = ["FrameStore"]

_FIELDS = tuple(field.name for field in fields(Frames))


class FrameStore:
    """A directory with one folder for each chunk of frames of one size; chunks have numbers.

    Another process may add chunks at any time: they appear whole.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Created if it is not there.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._chunks: dict[int, Frames] = {}

    def __len__(self) -> int:
        """Frames that were there when somebody last looked."""
        return sum(map(len, self._chunks.values()))

    @property
    def numbers(self) -> list[int]:
        """Numbers of all chunks, ascending; looks for new ones."""
        self.refresh()
        return sorted(self._chunks)

    def refresh(self) -> int:
        """Looks for chunks that others have added; returns how many frames there are now."""
        for path in self.folder.glob("chunk-*"):
            number = int(path.name.removeprefix("chunk-"))
            if number not in self._chunks:
                arrays = {name: np.load(path / f"{name}.npy", mmap_mode="c") for name in _FIELDS}
                self._chunks[number] = Frames(**{name: torch.from_numpy(a) for name, a in arrays.items()})
        return len(self)

    def add(self, number: int, frames: Frames) -> None:
        """Writes a chunk; one that is there already is kept."""
        path = self.folder / f"chunk-{number:06d}"
        if path.exists():
            return
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=self.folder))
        for name in _FIELDS:
            np.save(draft / f"{name}.npy", getattr(frames, name).numpy())
        try:
            os.rename(draft, path)
        except OSError:  # another process was first
            shutil.rmtree(draft)

    def get(self, numbers: Sequence[int]) -> Frames:
        """Whole chunks, of one size, one behind the other."""
        return Frames.joined([self._chunks[number] for number in numbers])

    def draw(self, count: int, generator: torch.Generator) -> Frames:
        """Random frames of one size; sizes come up as often as there are frames of them.

        Args:
            count: How many; some may come twice.
            generator: Chooses.
        """
        sizes: dict[tuple[int, ...], list[Frames]] = {}
        for number in sorted(self._chunks):
            chunk = self._chunks[number]
            sizes.setdefault(tuple(chunk.pixels.shape[1:3]), []).append(chunk)
        totals = torch.tensor([sum(map(len, some)) for some in sizes.values()])
        chosen = list(sizes.values())[int(torch.multinomial(totals.float(), 1, generator=generator))]
        lengths = torch.tensor([len(chunk) for chunk in chosen])
        which = torch.multinomial(lengths.float(), count, replacement=True, generator=generator).tolist()
        places = torch.rand(count, generator=generator).tolist()
        drawn = []
        for chunk, place in zip((chosen[index] for index in which), places, strict=True):
            index = int(place * len(chunk))
            drawn.append(chunk[index : index + 1])
        return Frames.joined(drawn)
