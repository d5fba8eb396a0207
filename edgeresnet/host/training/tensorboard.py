"""Figures of trainings and rungs as TensorBoard reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.closing import Closing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board(Closing):
    """A folder of TensorBoard's, with a sub-folder for each part of the work; a context manager.

    Args:
        folder: that it is in; what lies there already is shown beside what comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def __call__(self, part: str, place: int, figures: Mapping[str, float]) -> None:
        """Write figures; an `edgeresnet.progress.OnFigures`.

        Args:
            part: of the work.
            place: the step or the epoch behind which they are.
            figures: by their names, in which what stands before a / groups them.
        """
        writer = self._writers.get(part)
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            writer = self._writers[part] = SummaryWriter(str(self._folder / part))
        for name, value in figures.items():
            writer.add_scalar(name, value, place)

    def close(self) -> None:
        """Write what is left, and close the files."""
        for writer in self._writers.values():
            writer.close()
