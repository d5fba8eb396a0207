"""Where a task's checkpoint goes, and what an interrupted task goes on from."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_output_file, check_room
from edgeresnet.files.places import shortened
from edgeresnet.progress import second_resume_path
from edgeresnet.settings.training import DEFAULT_ARCH, ModelSettings

# Of a checkpoint's size: of what trains, the result, and twice a file to go on from with weights,
# the best ones and the optimizer's; of an export, the model; in the temporary folder its graph too.
TRAINED, EXPORTED, TEMPORARY = 7, 2, 3
# What is adopted is the same weights again.
ADOPTED = 1

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


def check_room_for(output: Path, source: str | Path, times: int, option: str = "-o") -> None:
    """Refuse a disk that has no room for what is made of a checkpoint, before the work.

    Args:
        output: file or folder, which need not exist.
        source: the checkpoint; of what is fetched by its name no size is known.
        times: its size, that often, is written until the output stands.
        option: by which another place is given.

    Raises:
        MissingError: less is free there.
    """
    path = Path(source)
    if path.is_file():
        what = f"what is made of {shortened(path)}"
        fix = f"make room there, or give another {option}."
        check_room(output, times * path.stat().st_size, what, fix)


def check_room_to_train(output: Path, model: ModelSettings, resume_path: Path | None) -> None:
    """Refuse a disk that has no room for a training, before it.

    Args:
        output: checkpoint file to write.
        model: the network, and the checkpoint that it begins with.
        resume_path: what an interrupted task goes on from, a file or a folder; what stands there
            is written already.

    Raises:
        MissingError: less is free there.
    """
    what = f"a training of {model.arch or DEFAULT_ARCH}"
    if model.weights is not None:
        what = f"what is made of {shortened(model.weights)}"
    check_room(
        output,
        TRAINED * network_bytes(model) - _begun_bytes(resume_path),
        what,
        "make room there, or give another -o.",
    )


def _begun_bytes(resume_path: Path | None) -> int:
    """What is written already of what a task goes on from."""
    if resume_path is None:
        return 0
    inside = resume_path.rglob("*") if resume_path.is_dir() else ()
    files = (resume_path, second_resume_path(resume_path), *inside)
    return sum(path.stat().st_size for path in files if path.is_file())


def network_bytes(model: ModelSettings) -> int:
    """The size of a network's weights in float32; 0 where only a download tells it."""
    if model.weights is not None and Path(model.weights).is_file():
        return Path(model.weights).stat().st_size
    if model.arch is None and model.weights is not None:
        return 0
    import torch

    from edgeresnet.host.models.resnet import build_resnet

    with torch.device("meta"):
        network = build_resnet(model.arch or DEFAULT_ARCH, 10)
    count: int = sum(weight.numel() for weight in network.parameters())
    return 4 * count


def resumable(context: TaskContext, output: Path, suffix: str) -> TaskContext:
    """The context with a place beside the output to go on from, where it names none."""
    if context.resume_path is not None:
        return context
    return replace(context, resume_path=output.with_name(f".{output.name}.{suffix}"))


def save_checkpoint(checkpoint: Checkpoint, output: str | Path) -> None:
    """Write a checkpoint, such as ``with_backbone`` gives, whole or not at all.

    Args:
        checkpoint: as `edgeresnet.load_checkpoint` reads it.
        output: file to write; a checkpoint that is there is replaced.

    Raises:
        InputError: it cannot be written, or is something else than a checkpoint.
    """
    from edgeresnet.host.models.checkpoint import save_checkpoint as save

    path = Path(output)
    check_output(path)
    save(checkpoint, path)


def save_result(checkpoint: Checkpoint, output: Path, context: TaskContext) -> None:
    """Save the result whole, then remove what an interrupted task would have gone on from."""
    from edgeresnet.host.models.checkpoint import save_checkpoint

    save_checkpoint(checkpoint, output)
    if context.resume_path is None:
        return
    if context.resume_path.is_dir():
        shutil.rmtree(context.resume_path, ignore_errors=True)
    else:
        for left in (context.resume_path, second_resume_path(context.resume_path)):
            left.unlink(missing_ok=True)


def _is_torch_archive(path: Path) -> bool:
    """Whether a file is one that ``torch.save`` writes, or empty."""
    if not path.stat().st_size:
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())
