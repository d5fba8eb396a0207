"""Every observer and every rung on one float checkpoint: README's table.

Run: python -m tests.benchmarks.quantization_table CKPT FOLDER [--only NAME,...] [OPTION...]

OPTIONs are `quantize`'s, for all of them (--limit, --weight-bits); what a case has of its own
stands. The checkpoints go to FOLDER, beside what the command says of each; a row that is there
already is shown as it is. A line appears when its row is done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.settings.quantization import TRAINING, ObserverName, RungName

QAT = ("--epochs", "1", "--augment", "flip")
# A floor of bits for what only training and learned rounding can do.
NARROW = ("--weight-bits", "4")

CASES: dict[str, tuple[str, ...]] = {
    **{f"ptq-{o}": ("--method", "ptq", "--observer", o) for o in get_args(ObserverName)},
    **{
        rung: ("--method", rung, *(QAT if rung in TRAINING else ()))
        for rung in get_args(RungName)
        if rung != "ptq"
    },
    "adaround-4": ("--method", "adaround", *NARROW),
    "qat-4": ("--method", "qat", *NARROW, *QAT),
}
# What has a budget by itself would stop looking at images as soon as that is decided.
WHOLE = {"mixed": ("--all-images",)}


def figures(name: str, checkpoint: Path, folder: Path, told: Sequence[str]) -> dict[str, Any]:
    """What `quantize --json` says of one case."""
    path = folder / f"{name}.json"
    if not path.exists():
        command = [
            sys.executable, "-m", "edgeresnet", "quantize", str(checkpoint), "--quiet",
            "--json", str(path), "-o", str(folder / f"{name}.pt"),
            *told, *CASES[name], *WHOLE.get(name, ()),
        ]  # fmt: skip
        done = subprocess.run(command, check=False)
        # 1: over its budget, and written all the same.
        if done.returncode not in (0, 1):
            sys.exit(f"{name}: exit {done.returncode}")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def row(name: str, said: dict[str, Any]) -> str:
    """A line of a table in Markdown."""
    low, high = said["drop_interval"]
    cells = (
        f"`{name}`", f"{said['top1_int8']:.4f}", f"{-said['drop']:+.4f}",
        f"{-high:+.4f} to {-low:+.4f}", f"{said['agreement']:.4f}", f"{said['seconds']:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quantization_table")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    told, options = parser.parse_known_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    print(f"{cpu_name()}\n")
    print("| | top-1 | minus float | 95 % | agreement | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in told.only.split(","):
        print(row(name, figures(name, told.checkpoint, told.folder, options)), flush=True)


if __name__ == "__main__":
    main()
