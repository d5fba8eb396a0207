"""Names of a million files in little more memory than their letters take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Names(Sequence[str]):
    """Texts in a fixed order, one after the other in one piece of memory.

    A list of a million paths takes 350 bytes for each; these take their letters and 8 bytes.

    Args:
        parts: texts by some hundreds or thousands, as folder by folder: of the parts only one is in
            memory at a time. A byte of a file's name that is no UTF-8 is a surrogate.
    """

    def __init__(self, parts: Iterable[Iterable[str]]) -> None:
        letters, lengths = bytearray(), []
        for part in parts:
            encoded = [os.fsencode(text) for text in part]
            letters += b"".join(encoded)
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        self._letters = bytes(letters)
        self._ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        place = range(len(self))[index]
        return os.fsdecode(self._letters[self._ends[place] : self._ends[place + 1]])

    def __iter__(self) -> Iterator[str]:
        ends = self._ends.tolist()
        for start, end in pairwise(ends):
            yield os.fsdecode(self._letters[start:end])

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> Names:
        """Those of these places, in their order."""
        return Names([(self[place] for place in places)])


class Paths(Sequence[Path]):
    """Paths of files that mostly lie in one folder, as `Names` has them.

    Args:
        start: what all of them begin with, as ``photos/train/``.
        names: what follows in each.
    """

    def __init__(self, start: str, names: Names) -> None:
        self._start, self._names = start, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return Paths(self._start, self._names[index])
        return Path(self._start + self._names[index])

    def __iter__(self) -> Iterator[Path]:
        for name in self._names:
            yield Path(self._start + name)

    def below(self, root: Path, index: int) -> str:
        """One of them relative to a folder, with ``/``; whole where it lies elsewhere."""
        if self._start == f"{root}/":
            return self._names[index]
        path = self[index]
        # A file of labels may name what lies elsewhere.
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> Paths:
        """Those of these places, in their order."""
        return Paths(self._start, self._names.take(places))
