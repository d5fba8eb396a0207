"""What gives itself away is said by every command that sees it, and fails only the strict."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeresnet.api.compare import compare
from edgeresnet.api.evaluate import evaluate
from edgeresnet.device.data.remembered import known_by
from edgeresnet.device.session import Opened
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.training.train_checkpoint import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.measuring import Budgets
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions
from tests.class_folders import SPEC, opens, reader_of, write_classes
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.fakes import FakeSession, opened
from tests.host.training.test_train_checkpoint import narrow_weights

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Validation images of four classes, five of each."""
    write_classes(tmp_path / "photos" / "val", {name: (i, 5) for i, name in enumerate(NAMES)})
    return tmp_path / "photos"


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Distinct images of two classes, of which one is in both parts."""
    root = tmp_path / "leaky"
    image_folder(root / "train", ["a", "b"], images=16, size=8)
    for name in ("a", "b"):
        (root / "val" / name).mkdir(parents=True)
        for number in range(4):
            shutil.move(root / "train" / name / f"{number}.png", root / "val" / name)
    shutil.copy(root / "val" / "b" / "0.png", root / "train" / "a" / "copied.png")
    return root


def constant(name: str = "dead") -> Opened:
    """A model that gives every image the same logits."""
    session = FakeSession(lambda batch: np.ones((len(batch), 4)) * np.arange(4), classes=4)
    return replace(opened(name, session, SPEC), classes=NAMES)


def test_evaluate_says_so_of_constant_outputs_and_fails_the_strict(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    opens(monkeypatch, constant(), constant(), reader_of(NAMES, outputs=4))
    arguments = ("evaluate", "m", "--data", photos, "--json", tmp_path / "r.json")
    code, _, told = command(*arguments)
    assert code == 0
    assert "all 20 images get the same logits" in told
    (tmp_path / "r.json").unlink()
    code, _, told = command(*arguments, "--strict")
    assert code == 1
    assert "in doubt: all 20 images get the same logits" in told.replace("\n", " ")
    first, second = json.loads((tmp_path / "r.json").read_text())["doubts"]
    assert first.startswith("all 20 images get the same logits")
    assert "not clearly above chance" in second
    assert command(*arguments, "--strict", "-q")[0] == 0
    assert json.loads((tmp_path / "r.json").read_text())["doubts"] == []


def test_compare_names_the_model_and_its_verdict_is_that_of_the_exit_code(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for strict, verdict in ((False, "pass"), (True, "fail")):
        opens(monkeypatch, reader_of(NAMES, outputs=4), constant())
        result = compare(
            ["m", "dead"], Budgets(strict=strict), rounds=2, context=TaskContext(data=str(photos))
        )
        assert result["doubts"][0].startswith("dead: all 20 images get the same logits")
        assert result["verdict"] == verdict


def test_evaluate_says_so_when_the_model_was_trained_on_some_of_the_images(
    leaky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = FakeSession(lambda batch: np.eye(2)[(batch[:, 0, 0, 0] > 0).astype(int)], classes=2)
    spec = str(leaky)
    model = replace(opened("m", session, SPEC), classes=("a", "b"), data=spec)
    model = replace(model, data_fingerprint=known_by(spec))
    # A bundle remembers a name alone, and the data may lie elsewhere; or it is not here at all.
    moved, gone = replace(model, data="leaky"), replace(model, data_fingerprint="0" * 16)
    opens(monkeypatch, model, moved, gone, model)
    for told in (True, True, False):
        doubts = evaluate("m", context=TaskContext(data=spec))["doubts"]
        assert any("1 of 8 images to measure on are among the 25" in d for d in doubts) == told
    # All of these are what it learned from.
    flat = evaluate("m", context=TaskContext(data=str(leaky / "train")))["doubts"]
    assert "bit by bit" in flat[0]


def test_quantize_and_train_say_so_when_they_learn_from_what_they_measure_on(
    leaky: Path, tmp_path: Path
) -> None:
    checkpoint = narrow_weights(tmp_path / "w.pt", classes=2)
    lines: list[str] = []
    context = TaskContext(data=str(leaky), on_step=lines.append)
    for images, told in ((25, True), (1, False)):
        options = QuantizeOptions(method="ptq", calibration_images=images)
        _, figures = quantize_checkpoint(checkpoint, options, strict=True, context=context)
        shared = [doubt for doubt in figures["doubts"] if "for calibration too" in doubt]
        assert (len(shared) == 1) == told
        assert figures["verdict"] == ("fail" if figures["doubts"] else "pass")
    lines.clear()
    trained, _ = train_checkpoint(
        ModelSettings(weights=str(tmp_path / "w.pt")),
        TrainOptions(epochs=1, batch_size=8, augment="none"),
        context=context,
    )
    (shared_line,) = [line for line in lines if "for training too" in line]
    assert shared_line in trained.provenance["doubts"]


def test_train_fails_the_strict_when_it_learns_from_what_it_measures_on(
    leaky: Path, tmp_path: Path, command: Command
) -> None:
    narrow_weights(tmp_path / "w.pt", classes=2)
    short = ("--epochs", 1, "--batch-size", 8, "--augment", "none")
    code, _, told = command(
        "train", "--arch", "resnet18", "--weights", tmp_path / "w.pt", "--data", leaky, *short,
        "--strict", "-o", tmp_path / "x.pt",
    )  # fmt: skip
    assert code == 1
    assert "in doubt: 1 of 8 images to measure on" in " ".join(told.split())
    assert (tmp_path / "x.pt").is_file()


@pytest.mark.parametrize(("doubts", "expected"), [(["all 4 images are alike"], 1), ([], 0)])
def test_export_fails_the_strict_when_its_proof_has_doubts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    doubts: list[str],
    expected: int,
) -> None:
    proof = {"largest_difference": 0.0, "images": 4, "data": "data", "logit_bound": 1.0}
    manifest = SimpleNamespace(
        proof={**proof, "doubts": doubts}, saturation=None, provenance={}, precision="fp32"
    )
    written = SimpleNamespace(manifest=manifest, path=tmp_path / "b")
    monkeypatch.setattr("edgeresnet.api.export.export", lambda *a, **k: written)
    code, _, told = command("export", "w.pt", "--strict", "-o", tmp_path / "b")
    assert code == expected, told
    assert ("in doubt: all 4 images are alike" in told) == bool(doubts)
    assert command("export", "w.pt", "-o", tmp_path / "b")[0] == 0
