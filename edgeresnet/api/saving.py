"""Where a task's checkpoint goes, and what an interrupted task goes on from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.progress import TaskContext


def check_output(path: Path) -> None:
    """Refuse an output file before the work, not after it.

    Raises:
        InputError: there is a folder, or no folder can be made for it.
    """
    if path.is_dir():
        raise InputError(f"-o {path} is a folder", "give a file, such as -o model.pt.")
    parent = path.absolute().parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"-o {path}: {parent} is a file", "give another -o.")


def resumable(context: TaskContext, output: Path, suffix: str) -> TaskContext:
    """The context with a place beside the output to go on from, where it names none."""
    if context.resume_path is not None:
        return context
    return replace(context, resume_path=output.with_name(f".{output.name}.{suffix}"))


def save_result(checkpoint: Checkpoint, output: Path, context: TaskContext) -> None:
    """Save the result whole, then remove what an interrupted task would have gone on from."""
    from edgeresnet.host.models.checkpoint import save_checkpoint

    save_checkpoint(checkpoint, output)
    if context.resume_path is None:
        return
    if context.resume_path.is_dir():
        shutil.rmtree(context.resume_path, ignore_errors=True)
    else:
        context.resume_path.unlink(missing_ok=True)
