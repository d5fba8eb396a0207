"""Where a task's checkpoint goes, and what an interrupted task goes on from."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_output_file

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.progress import TaskContext


def check_output(path: Path) -> None:
    """Refuse an output file before the work, not after it.

    Raises:
        InputError: it cannot be written, or is something else than a checkpoint.
    """
    check_output_file(path, "-o", "-o model.pt")
    if path.is_file() and not _is_torch_archive(path):
        raise InputError(
            f"-o {path} is there already and is no checkpoint",
            "give another -o, or remove this file.",
        )


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


def _is_torch_archive(path: Path) -> bool:
    """Whether a file is one that ``torch.save`` writes, or empty."""
    if not path.stat().st_size:
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())
