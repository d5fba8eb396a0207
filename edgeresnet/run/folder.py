"""The folders of runs."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.errors import InputError
from edgeresnet.files import check_output_folder, writing

RUNS_DIR = Path("runs")


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


def check_folder(run_dir: Path, records: str) -> None:
    """Refuse a folder that is no run's, or that cannot be written."""
    with writing(run_dir):
        if run_dir.is_dir() and not (run_dir / records).is_dir() and any(run_dir.iterdir()):
            raise InputError(f"{run_dir} exists and is not a run", "give another -o folder.")
        check_output_folder(run_dir / records, "-o")
