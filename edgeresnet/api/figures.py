"""Where the figures of a training go beside the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgeresnet.errors import MissingError
from edgeresnet.files.outputs import check_output_folder
from edgeresnet.files.ranks import is_first
from edgeresnet.progress import TaskContext


@contextmanager
def on_board(context: TaskContext, folder: Path | None) -> Iterator[TaskContext]:
    """A block whose training writes its figures for TensorBoard.

    Args:
        context: of the task.
        folder: to write into, beside what is there; None: nowhere.

    Yields:
        The context, with ``on_figures``.

    Raises:
        InputError: the folder cannot be written.
        MissingError: TensorBoard is not installed; nothing was trained.
    """
    # Of several processes of one task the first writes.
    if folder is None or not is_first():
        yield context
        return
    if find_spec("tensorboard") is None:
        raise MissingError(
            "--tensorboard needs TensorBoard, which is not installed",
            "pip install 'edgeresnet[tensorboard]', or leave it out.",
        )
    check_output_folder(folder, "--tensorboard")
    from edgeresnet.host.training.tensorboard import Board

    with Board(folder) as board:
        yield replace(context, on_figures=board)
