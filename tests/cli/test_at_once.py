"""Several commands at once into one place, and into one cache: one wins, everything is whole."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.host.models.checkpoint import save_checkpoint
from tests.copies import REPOSITORY
from tests.host.training.test_train_checkpoint import NARROW
from tests.small_checkpoints import make_checkpoint

RECIPE = """
name: tiny
data: digits
image_size: 8
limit: 60
model: {weights: narrow.pt}
train: {epochs: 1, batch_size: 20, lr: 0.05}
quantize: {method: ptq, calibration_images: 20}
export: {targets: [onnx], precisions: [int8]}
compare: {rounds: 3, limit: 40}
"""
# What every process does with the caches of one user: the hashes of many images, and a width step.
CACHES = """
import sys
from pathlib import Path
from edgeresnet.device.data.content_hashes import file_hashes
from edgeresnet.device.machine.width_steps import known_steps, remember_step
print("ready", flush=True)
sys.stdin.readline()
first = file_hashes(sorted(Path("images").iterdir()))
for step in range(20):
    remember_step(f"target{sys.argv[1]}", "cpu", step + 1)
assert file_hashes(sorted(Path("images").iterdir())) == first
assert known_steps()[f"target{sys.argv[1]} cpu"] == 20
"""


def at_once(folder: Path, number: int, *arguments: str) -> list[tuple[int, str]]:
    """Exit code and what was told of each of so many processes of one command."""
    code = "from edgeresnet.cli.app import main; main()"
    several = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
                 "XDG_CACHE_HOME": str(folder / "cache")},
        )
        for _ in range(number)
    ]  # fmt: skip
    told = [process.communicate(timeout=600)[1] for process in several]
    return [(process.returncode, text) for process, text in zip(several, told, strict=True)]


def check(ends: list[tuple[int, str]]) -> None:
    assert any(code == 0 for code, _ in ends), ends
    for code, told in ends:
        # On few cores some begin when the first has ended: they win too.
        refused = code == 2 and " is being written by process " in told
        assert code == 0 or refused, told
    print([code for code, _ in ends])


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 8])
def test_one_of_several_commands_writes_a_place_and_it_is_whole(
    tmp_path: Path, number: int
) -> None:
    save_checkpoint(make_checkpoint(widths=NARROW, size=8), tmp_path / "narrow.pt")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    check(at_once(tmp_path, number, "run", "tiny.yaml", "-o", "run"))
    bundle = load_bundle(tmp_path / "run" / "04-export" / "onnx-int8")
    assert (tmp_path / "run" / "results.json").is_file()
    export = ("export", "narrow.pt", "--int8", "--limit", "60", "-o", "bundle")
    check(at_once(tmp_path, number, *export))
    assert load_bundle(tmp_path / "bundle").manifest.files.keys() == bundle.manifest.files.keys()
    check(at_once(tmp_path, number, "build", "bundle"))
    load_bundle(tmp_path / "bundle")
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"narrow.pt", "tiny.yaml", "run", "bundle", "cache"}
    left = [p.name for p in tmp_path.rglob(".*") if not p.is_relative_to(tmp_path / "cache")]
    assert left == [".stages"]


@pytest.mark.slow
def test_eight_processes_share_one_cache(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for i in range(600):
        Image.new("L", (8, 8), i % 256).save(tmp_path / "images" / f"{i}.png")
        os.utime(tmp_path / "images" / f"{i}.png", (1, 1))
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(tmp_path / "cache")
    }  # fmt: skip
    for damage in (None, b"not a database"):
        cache = tmp_path / "cache" / "edgeresnet" / "content-hashes.sqlite"
        if damage is not None:
            cache.write_bytes(damage)
            shutil.rmtree(cache.parent / "width-steps")
        several = [
            subprocess.Popen(
                [sys.executable, "-c", CACHES, str(i)], cwd=tmp_path, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for i in range(8)
        ]  # fmt: skip
        for process in several:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in several:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in several:
            process.communicate(timeout=120)
        assert [process.returncode for process in several] == [0] * 8
        with closing(sqlite3.connect(cache)) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert opened.execute("SELECT count(*) FROM hashes").fetchall() == [(600,)]
