"""How much damage golden images notice: 2,000 damaged copies of an INT8 ResNet-18's model file."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeresnet.device.bundle.bundle import Bundle, load_bundle
from edgeresnet.device.bundle.golden import check_golden
from edgeresnet.device.data.dataset import balanced_subset, batches
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.data.standard import standard_files
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.settings.export import ONE_IMAGE
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import CommandLine
from tests.damage import damaged

MUTANTS, IMAGES, CHANGED = 2000, 1000, 10
OPENINGS = 15


class Damaged:
    """A session with something around its ``run``."""

    def __init__(self, session: Any, around: Any) -> None:
        self._session, self.run = session, around(session.run) if around else session.run
        self.emulated, self.batch_sizes = session.emulated, session.batch_sizes
        self.input_shape, self.input_dtype = session.input_shape, session.input_dtype


def is_caught(bundle: Bundle, session: Any, name: str) -> bool:
    try:
        check_golden(bundle, session, "cpu", name)
    except CheckError:
        return True
    return False


def changed_answers(session: Any, inputs: np.ndarray, right: np.ndarray) -> int:
    """How many of all; counted no further than to `CHANGED`."""
    changed = 0
    for start in range(0, len(inputs), 64):
        logits = np.concatenate(
            [
                run_padded(session, inputs[i : i + 16])
                for i in range(start, min(start + 64, len(inputs)), 16)
            ]
        )
        changed += int((logits.argmax(1) != right[start : start + 64]).sum())
        if changed >= CHANGED:
            break
    return changed


def make_bundle(edgeresnet: CommandLine) -> None:
    """A ResNet-18 that has learned something, in integer kernels."""
    common = ("--stem", "imagenet", "--image-size", 32, "--limit", 6000, "--epochs", 4)
    data = ("--data", "fashion-mnist")
    steps = [
        ("train", "--arch", "resnet18", *data, *common, "-o", "float.pt"),
        ("quantize", "float.pt", *data, "--method", "ptq", "--limit", 2000, "-o", "int8.pt"),
        ("export", "int8.pt", "--target", "onnx", "--int8", "--batch", "1:4:16", "-o", "bundle"),
    ]
    for step in steps:
        done = edgeresnet(*step, timeout=3600)
        assert done.returncode == 0, done.stderr


def validation(folder: Path) -> np.ndarray:
    spec = load_checkpoint(folder / "int8.pt").input_spec
    dataset = balanced_subset(open_dataset("fashion-mnist", "val"), IMAGES, 7)
    return normalize(np.asarray(next(iter(batches(dataset, spec, IMAGES, raw=True)))[0]), spec)


def study(bundle: Bundle, inputs: np.ndarray, seeds: range, folder: Path) -> dict[str, Any]:
    """Figures of all seeds' damage; ``anywhere``: as on a device of other kernels."""
    model, path = onnx.load(bundle.model_path), folder / "damaged.onnx"
    elsewhere = Bundle(bundle.path, replace(bundle.manifest, golden_from=None))
    with TARGETS["onnx"].load(bundle.model_path, "cpu", RunOptions(threads=1)) as session:
        right = np.concatenate(
            [run_padded(session, inputs[i : i + 16]).argmax(1) for i in range(0, IMAGES, 16)]
        )
    figures: dict[str, Any] = {
        "mutants": 0, "do_not_load": 0, "harmful": 0, "caught": 0, "anywhere": 0, "missed": [],
        "harmless_caught": 0,
    }  # fmt: skip
    for seed in seeds:
        figures["mutants"] += 1
        kind, damage, around = damaged(model, seed)
        path.write_bytes(damage.SerializeToString())
        try:
            with TARGETS["onnx"].load(path, "cpu", RunOptions(threads=1)) as session:
                one = Damaged(session, around)
                caught = is_caught(bundle, one, f"here-{seed}")
                anywhere = is_caught(elsewhere, one, f"elsewhere-{seed}")
                changed = changed_answers(one, inputs, right)
        except InputError:
            figures["do_not_load"] += 1
            continue
        if changed >= CHANGED:
            figures["harmful"] += 1
            figures["caught"] += caught
            figures["anywhere"] += anywhere
            if not caught:
                figures["missed"].append((seed, kind))
        else:
            figures["harmless_caught"] += caught
        if seed % 50 == 49:
            print(json.dumps(figures), flush=True)
    return figures


def opening_seconds(bundle: Bundle, before: bool) -> float:
    """One opening on a machine that has not seen the bundle; ``before``: in one batch."""
    batch = ONE_IMAGE if before else bundle.manifest.batch
    one = Bundle(bundle.path, replace(bundle.manifest, batch=batch))
    start = time.perf_counter()
    with TARGETS["onnx"].load(one.model_path, "cpu", RunOptions(threads=1)) as session:
        check_golden(one, session, "cpu", f"opening-{before}-{time.perf_counter_ns()}")
    return time.perf_counter() - start


@pytest.mark.slow
@pytest.mark.skipif(
    not standard_files("fashion-mnist", "val"), reason="sudo apt-get install dataset-fashion-mnist"
)
def test_damage_that_changes_answers_is_caught_when_opening(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    """``EDGERESNET_STUDY`` is a folder with a network's ``int8.pt`` and ``bundle``, to take it."""
    folder = Path(os.environ.get("EDGERESNET_STUDY", tmp_path))
    if folder == tmp_path:
        make_bundle(edgeresnet)
    bundle = load_bundle(folder / "bundle")
    times = [[opening_seconds(bundle, before) for before in (True, False)] for _ in range(OPENINGS)]
    before, after = np.median(times, axis=0)
    print(f"opening: {before:.3f} s before, {after:.3f} s now", flush=True)
    figures = study(bundle, validation(folder), range(MUTANTS), tmp_path)
    print(json.dumps(figures), flush=True)
    assert after - before <= 0.3
    assert figures["harmful"] >= MUTANTS / 4
    assert figures["caught"] >= 0.99 * figures["harmful"]
