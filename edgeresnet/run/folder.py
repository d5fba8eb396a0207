"""The folders of runs."""

from __future__ import annotations

import shutil
from pathlib import Path, PureWindowsPath
from typing import get_args

from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_output_folder
from edgeresnet.files.writing import writing
from edgeresnet.progress import second_resume_path
from edgeresnet.settings.training import Arch

RUNS_DIR = Path("runs")
RECORDS = ".stages"
RESUME, WORK = "resume.pt", "work"
# Of a folder's name; what stands before and behind it in temporary ones is no part of it.
MOST_NAME_BYTES = 200
# What a run writes in its folder, and its stages in theirs.
WRITTEN = ("*.json", "*.html", ".stages/*", "0?-*", "0?-*/*", "resnet*")


def why_no_folder_name(name: str) -> str | None:
    """Why a stranger's text is no name of one folder on every system; None: it is one."""
    if not name.strip():
        return "is empty"
    if len(name.encode(errors="replace")) > MOST_NAME_BYTES:
        return f"has more than {MOST_NAME_BYTES} bytes"
    if not name.isprintable():
        return "has signs that are no text"
    if name in (".", "..") or len(PureWindowsPath(name).parts) != 1 or PureWindowsPath(name).drive:
        return "leads to another folder"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    return "is a device's name on Windows" if PureWindowsPath(name).is_reserved() else None


def newest_checkpoint(precision: str) -> Path:
    """Of the run that wrote a checkpoint last, the one that is furthest on."""
    stages = ["02-prune", "01-train"]
    if is_quantized(precision):
        stages.insert(0, "03-quantize")
    checkpoints = [path for stage in stages for path in RUNS_DIR.glob(f"*/{stage}/checkpoint.pt")]
    if not checkpoints:
        raise InputError(
            f"no checkpoint is given and {RUNS_DIR} has no run",
            "give a checkpoint as the argument.",
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
    return next(path for path in checkpoints if path.parents[1] == newest.parents[1])


def networks_in(run_dir: Path) -> dict[str, Path]:
    """The runs of a folder that is of several depths, by architecture; empty of any other."""
    folders = {arch: run_dir / arch for arch in get_args(Arch)}
    return {arch: path for arch, path in folders.items() if (path / RECORDS).is_dir()}


def check_folder(run_dir: Path, records: str) -> None:
    """Refuse a folder that is no run's, or that cannot be written."""
    with writing(run_dir, begun=False):
        if run_dir.is_dir() and not (run_dir / records).is_dir() and any(run_dir.iterdir()):
            fix = "give another -o folder."
            if any(run_dir.glob("0?-*")):
                # A run that was copied by ``cp run/*``, which leaves out what begins with a dot.
                fix = f"if it was copied from one, copy its {records} too; else {fix}"
            raise InputError(f"{run_dir} exists and is not a run", fix)
        # A run's folder may lie anywhere; what is written and removed in it, only there.
        places = (path for pattern in WRITTEN for path in run_dir.glob(pattern))
        if links := [path for path in (run_dir / records, *places) if path.is_symlink()]:
            raise InputError(
                f"{links[0]} is a link, and a run writes into its own folder",
                "remove it, or give another -o folder.",
            )
        check_output_folder(run_dir / records, "-o")


def discard_finished(run_dir: Path) -> None:
    """Remove the records of a run, and all from which a stage would go on."""
    for record in (run_dir / RECORDS).glob("*.json"):
        record.unlink()
    resumes = (RESUME, second_resume_path(Path(RESUME)).name)
    for resume_path in (path for name in resumes for path in run_dir.glob(f"*/{name}")):
        resume_path.unlink()
    for work_dir in run_dir.glob(f"*/{WORK}"):
        shutil.rmtree(work_dir)
