"""A run that is killed at any moment, and told the same again, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet import closing
from edgeresnet.closing import temporary_folder
from edgeresnet.host.models.checkpoint import save_checkpoint
from tests.copies import REPOSITORY
from tests.host.training.test_train_checkpoint import NARROW
from tests.small_checkpoints import make_checkpoint

# Every stage there is, as small as can be; two iterations, so that one ends between them.
RECIPE = """
name: tiny
data: digits
image_size: 8
limit: 160
model: {weights: narrow.pt}
train: {epochs: 5, batch_size: 8, lr: 0.02}
prune: {macs: 0.6, iterations: 2, images: 24, step: 1, train: {epochs: 2, batch_size: 8}}
quantize: {method: qat, calibration_images: 160, train: {epochs: 2, batch_size: 8}}
export: {targets: [onnx], precisions: [int8]}
compare: {rounds: 3, limit: 20}
"""
# As `tests.short` does in the other tests: most of the time would go there.
CODE = """
from edgeresnet.host.export import proof_images
proof_images.PROOF_IMAGES = 32
from edgeresnet.cli.app import main
main()
"""
COMMAND = (sys.executable, "-c", CODE, "run", "tiny.yaml", "-o")
KILLS_OF_ONE_RUN = 5


class Place:
    """A folder with the recipe, and a temporary folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.tmp = path, path / "tmp"
        self.tmp.mkdir()
        (path / "tiny.yaml").write_text(RECIPE)
        save_checkpoint(make_checkpoint(widths=NARROW, size=8), path / "narrow.pt")

    def start(self, run: str) -> subprocess.Popen[str]:
        own = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(self.tmp), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*COMMAND, run], cwd=self.path, env={**os.environ, **own}, text=True,
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def finish(self, run: str) -> dict[str, float]:
        """Run to the end; when each stage began, in seconds from the first, and the end."""
        begun, lines = dict[str, float](), []
        with self.start(run) as process:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if line.rstrip().endswith(": running"):
                    begun[line.split(":")[0]] = time.monotonic()
        assert process.returncode == 0, "".join(lines)
        begun["end"] = time.monotonic()
        return begun

    def end(self, run: str, stage: str, delay_s: float, number: signal.Signals) -> str | None:
        """Run, and end it so long after a stage has begun; the stage that it was in.

        None: it came to its end before.
        """
        process, last = self.start(run), ""
        assert process.stderr is not None
        lines, due = [], False
        for line in process.stderr:
            lines.append(line)
            name, _, what = line.rstrip().partition(": ")
            last = name if what == "running" else last
            # Where the kill before this one came later than it should, the stage may stand.
            if name == stage and what.startswith(("running", "done before")):
                due = True
                break
        assert due, "".join(lines)
        time.sleep(delay_s)
        running = process.poll() is None
        process.send_signal(number)
        start = time.monotonic()
        for line in process.stderr:
            name, _, what = line.rstrip().partition(": ")
            last = name if what == "running" else last
            lines.append(line)
        process.stderr.close()
        code = process.wait()
        if not running or code == 0:
            return None
        if number == signal.SIGKILL:
            assert code == -number
        else:
            assert code == 128 + number, "".join(lines)
            assert time.monotonic() - start < 3
            assert not list(self.tmp.glob("edgeresnet-*"))
            assert f"interrupted: run, by {number.name}\n" in lines
            assert not [p.name for p in (self.path / run).rglob("*.partial")]
        return last


def end_state(run_dir: Path) -> dict[str, Any]:
    """All that must be the same: tensors, the hashes of each bundle's files, and the accuracies."""
    state: dict[str, Any] = {}
    for path in sorted(run_dir.rglob("checkpoint.pt")):
        content = torch.load(path, weights_only=True)
        for name, tensor in content["state_dict"].items():
            state[f"{path.parent.name} {name}"] = tensor.numpy().tobytes()
    for path in sorted(run_dir.rglob("manifest.json")):
        manifest = json.loads(path.read_text())
        assert "golden.npz" in manifest["files"]
        state |= {f"{path.parent.name} {name}": h for name, h in manifest["files"].items()}
    for row in json.loads((run_dir / "results.json").read_text())["rows"]:
        state[row["name"]] = (row["top1"], row["top1_difference"], row["agreement"])
    others = [p for p in run_dir.rglob("*") if p.is_file() and p.name[0] != "."]
    state["files"] = sorted(p.relative_to(run_dir).as_posix() for p in others)
    return state


def moments(begun: dict[str, float], seed: int, number: int) -> Sequence[tuple[str, float]]:
    """So many stages in their order, and seconds into each: within what it took undisturbed."""
    chosen, stages = random.Random(seed), [name for name in begun if name != "end"]
    ends = dict(zip(stages, [*begun][1:], strict=True))
    # Each stage once before any has its second.
    rounds = [stages[(seed * number + i) % len(stages)] for i in range(number)]
    return [
        (stage, 0.9 * chosen.random() * (begun[ends[stage]] - begun[stage]))
        for stage in sorted(rounds, key=stages.index)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> tuple[dict[str, float], dict[str, Any]]:
    begun = place.finish("whole")
    assert len(begun) == 8, begun
    return begun, end_state(place.path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "seed"),
    [(signal.SIGKILL, seed) for seed in range(5)] + [(signal.SIGTERM, seed) for seed in (5, 6)],
)
def test_run_ends_bit_equal_when_it_is_ended_five_times_and_told_the_same_again(
    place: Place,
    undisturbed: tuple[dict[str, float], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    seed: int,
) -> None:
    monkeypatch.setattr(closing, "_swept", set())
    begun, state = undisturbed
    run = f"{number.name}-{seed}"
    ended = [
        place.end(run, stage, delay_s, number)
        for stage, delay_s in moments(begun, seed, KILLS_OF_ONE_RUN)
    ]
    print(f"{run}: ended in {ended}")
    assert None not in ended
    place.finish(run)
    assert end_state(place.path / run) == state
    # What a killed one left is gone with the next such folder; comparing alone makes none.
    monkeypatch.setattr("tempfile.tempdir", str(place.tmp))
    with temporary_folder():
        pass
    assert not list(place.tmp.glob("edgeresnet-*"))
