"""``quantize --fastest``: what is timed, told and refused; the command that it prints works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgeresnet
from edgeresnet.device.bundle.bundle import read_manifest
from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import MissingError
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.host.quantization import fastest as timing
from edgeresnet.results.fastest import FastestResults, FastestRow
from edgeresnet.results.made import QuantizeResults
from edgeresnet.settings.inputs import InputChanges, InputSpec
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.test_results import check

DATA = ("--data", "photos")
SHORT = ("--method", "ptq", "--calibration-images", 8)
FASTEST = ("quantize", "own.pt", *DATA, *SHORT, "--fastest", "--target", "onnx")
TOLD = ("--image-size", 8, "--mean", "0.5,0.4,0.25", "--std", "1/255", "--classes", "names.txt")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    spec = InputSpec(8, (0.5, 0.4, 0.25), (1 / 255,) * 3)
    # What `TOLD` says, so that it changes nothing.
    own = replace(narrow_weights(folder / "own.pt", classes=2), input_spec=spec)
    save_checkpoint(own, folder / "own.pt")
    torch.save(own.build().state_dict(), folder / "foreign.pth")
    (folder / "names.txt").write_text("b\na\n")
    image_folder(folder / "photos", ["a", "b"], size=8)
    return folder


@pytest.fixture(autouse=True)
def _place(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given)


def words_printed(told: str) -> list[str]:
    """The one export command, without the program's own name."""
    (line,) = re.findall(r"^to export \S+: edgeresnet (.*)$", told, re.MULTILINE)
    return shlex.split(line)


@pytest.fixture(scope="module")
def made(given: Path) -> QuantizeResults:
    """What quantizing ``own.pt`` to ``made.pt`` gave."""
    options = edgeresnet.QuantizeOptions(method="ptq", calibration_images=8)
    context = edgeresnet.TaskContext(data=str(given / "photos"))
    return edgeresnet.quantize(given / "own.pt", given / "made.pt", options, context=context)


@pytest.fixture
def done_before(given: Path, made: QuantizeResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantizing takes no time."""

    def quantize(source: str, output: Path, *arguments: Any, **options: Any) -> Any:
        shutil.copy(given / "made.pt", output)
        return {**made}

    monkeypatch.setattr("edgeresnet.api.quantize.quantize", quantize)


def plant_latencies(monkeypatch: pytest.MonkeyPatch, medians_ms: Mapping[str, float]) -> None:
    """Nothing is run: the times are these."""
    planted = {n: Latency(np.full(200, ms), 1, 5, None, 10) for n, ms in medians_ms.items()}
    monkeypatch.setattr(timing, "time_precisions", lambda *arguments, **options: planted)


@pytest.mark.usefixtures("done_before")
def test_a_slower_int8_is_said_and_all_that_was_told_is_in_the_export_command(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_latencies(monkeypatch, {"fp32": 1.2, "bf16": 1.0, "int8": 1.25})
    output, figures = tmp_path / "int8.pt", tmp_path / "result.json"
    line = ("quantize", "own.pt", *DATA, *SHORT, *TOLD, "--fastest", "--target", "openvino")
    code, out, err = command(*line, "-o", output, "--json", figures)
    assert code == 0, err
    assert output.is_file()
    told = " ".join(out.split())
    assert "int8 is not faster on openvino's cpu: bf16 is, of which it has 0.80x" in told
    found = json.loads(figures.read_text())["fastest"]
    assert (found["decision"], found["fastest"], found["advised"]) == ("slower", "bf16", "bf16")
    words = words_printed(err)
    assert words == shlex.split(found["export_command"])[1:]
    exported: dict[str, Any] = {}

    def export(source: str, output: Path, **options: Any) -> None:
        exported.update(options, source=source)
        raise MissingError("enough", "none.")

    monkeypatch.setattr("edgeresnet.api.export.export", export)
    monkeypatch.setattr("edgeresnet.device.targets.export_support.check_export", lambda *a, **o: 0)
    assert command(*words)[0] == 3
    assert (exported["source"], exported["precision"]) == ("own.pt", "bf16")
    assert exported["inputs"] == InputChanges(mean=(0.5, 0.4, 0.25), std=(1 / 255,) * 3)
    assert (exported["image_size"], exported["context"].data) == (8, "photos")
    assert exported["context"].classes_path == Path("names.txt")


@pytest.mark.usefixtures("done_before")
def test_a_faster_int8_is_said_and_marked(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_latencies(monkeypatch, {"fp32": 2.0, "int8": 1.0})
    output = tmp_path / "int8.pt"
    figures = tmp_path / "result.json"
    code, out, err = command(*FASTEST, "--threads", 1, "-o", output, "--json", figures)
    assert code == 0, err
    found = json.loads(figures.read_text())["fastest"]
    check(found, FastestResults)
    for row in found["precisions"]:
        check(row, FastestRow)
    # The figures go to others.
    assert found["export_command"] == "edgeresnet export PATH/int8.pt --target onnx --int8"
    assert "int8 is the fastest on onnx's cpu: 2.00x (2.00-2.00) of fp32" in " ".join(out.split())
    assert re.search(r"^int8 \* +1\.00", out, re.MULTILINE)
    assert words_printed(err) == ["export", str(output), "--target", "onnx", "--int8"]


@pytest.mark.usefixtures("done_before")
def test_what_does_not_settle_is_said(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_latencies(monkeypatch, {"fp32": 1.0, "int8": 1.0})
    code, out, err = command(*FASTEST, "-o", tmp_path / "int8.pt")
    assert code == 0, err
    assert "int8 is not shown to be faster" in out
    assert words_printed(err) == ["export", "own.pt", *DATA, "--target", "onnx"]


@pytest.mark.usefixtures("done_before")
def test_a_comparison_that_fails_leaves_the_checkpoint_and_its_figures(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise MissingError("the process that was to time int8 ended", "see whether memory ran out.")

    monkeypatch.setattr(timing, "time_precisions", fail)
    output, figures = tmp_path / "int8.pt", tmp_path / "result.json"
    code, out, err = command(*FASTEST, "-o", output, "--json", figures)
    assert code == 3
    assert f"the INT8 checkpoint is in {output}, and its speed was not compared" in err
    assert err.count("fix: ") == 1
    assert output.is_file()
    assert "ptq: top-1" in out
    assert json.loads(figures.read_text())["fastest"] is None


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--fastest",), 2, "--fastest times on a target, and none is given"),
        (("--target", "onnx"), 2, "--target would have no effect without --fastest"),
        (("--device", "cpu", "--threads", 1), 2, "--device, --threads would have no effect"),
        (("--fastest", "--target", "abacus"), 2, "target abacus is not known"),
        (("--fastest", "--target", "onnx", "--device", "dla0"), 2, "has no device dla0"),
        (("--fastest", "--target", "openvino", "--device", "npu"), 3, "openvino's npu"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_work(
    command: Command, tmp_path: Path, options: tuple[object, ...], code: int, told: str
) -> None:
    output = tmp_path / "int8.pt"
    found, _, err = command("quantize", "own.pt", *DATA, *SHORT, *options, "-o", output)
    assert found == code
    assert told in err
    assert err.count("fix: ") == 1
    assert not output.exists()


def test_the_options_of_each_precision_mean_it_again() -> None:
    from edgeresnet.device.targets.export_support import (
        options_of_precision,
        precision_of_options,
    )

    for name, target in TARGETS.items():
        for precision in target.spec.precisions:
            assert precision_of_options(name, options_of_precision(name, precision)) == precision


@pytest.mark.slow
def test_two_real_precisions_are_timed_and_the_printed_export_works(
    command: Command, tmp_path: Path
) -> None:
    figures = tmp_path / "result.json"
    code, _, err = command(
        "quantize", "foreign.pth", *DATA, *SHORT, *TOLD, "--fastest", "--target", "onnx",
        "-o", tmp_path / "int8.pt", "--json", figures,
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(figures.read_text())["fastest"]
    assert [row["precision"] for row in found["precisions"]] == ["fp32", "int8"]
    assert all(np.isfinite(row["p50_ms"]) and row["runs"] >= 200 for row in found["precisions"])
    source = "foreign.pth" if found["advised"] == "fp32" else str(tmp_path / "int8.pt")
    words = words_printed(err)
    assert words[:2] == ["export", source]
    code, _, err = command(*words, "-o", tmp_path / "bundle")
    assert code == 0, err
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.target, manifest.precision) == ("onnx", found["advised"])
    assert manifest.input_spec == InputSpec(8, (0.5, 0.4, 0.25), (1 / 255,) * 3)
    assert manifest.classes == ("b", "a")
