"""Two records of profile, compared later."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeresnet.api.records import compare_records
from edgeresnet.cli.app import app
from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.measure.record import model_sha256, options_record
from edgeresnet.device.measure.stability import stability_of
from edgeresnet.errors import CheckError, InputError
from edgeresnet.settings.measuring import RunOptions
from tests.device.measure.series_of import latencies

BOARD = {"power_mode": "MAXN", "clocks": [{"name": "cpu0", "governor": "performance"}]}
MACHINE = {
    "cpu": "Some CPU", "cores": 4, "memory_mib": 7900, "affinity": [0, 1, 2, 3],
    "versions": {"onnxruntime": "1.20"},
}  # fmt: skip


def record(seed: int, ms: float) -> dict[str, Any]:
    samples = latencies(np.random.default_rng(seed), 800, 0.5, 0.05, ms)
    row: dict[str, Any] = {
        "target": "onnx", "device": "cpu", "precision": "int8", "threads": 2, "load_ms": 1.0,
        "first_ms": 1.0, **Latency(samples, 1, 5, 50.0).to_dict(),
        "environment": deepcopy(MACHINE), "board": {"before": deepcopy(BOARD), "after": {}},
        "stability": stability_of(samples), "warnings": [], "model_sha256": "a" * 64,
        "options": options_record(RunOptions(threads=2)),
    }  # fmt: skip
    return {"schema": 1, **row, "batches": [row]}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for seed, path in enumerate(paths):
        path.write_text(json.dumps(record(seed, 10.0 / (1 + seed))))
    return paths


def change(path: Path, **changed: Any) -> None:
    told = json.loads(path.read_text())
    for row in (told, *told["batches"]):
        for key, value in changed.items():
            row[key] = {**row[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(told))


def test_records_are_comparable_when_machine_and_options_are_the_same(
    pair: tuple[Path, Path],
) -> None:
    found = compare_records(*pair)
    assert (found["comparable"], found["reasons"], found["same_model"]) == (True, [], True)
    (row,) = found["rows"]
    assert row["speedup"] is not None
    assert row["speedup"]["value"] == pytest.approx(2, rel=0.03)
    assert row["speedup"]["low"] is not None
    assert row["speedup"]["high"] is not None
    assert row["speedup"]["low"] < 2 < row["speedup"]["high"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"environment": {"cpu": "Other"}}, "processor: Some CPU and Other"),
        ({"environment": {"cores": 2}}, "processors that may be used: 4 and 2"),
        ({"environment": {"memory_mib": 3900}}, "memory in MiB: 7900 and 3900"),
        ({"environment": {"versions": {"onnxruntime": "1.21"}}},
         "version of onnxruntime: 1.20 and 1.21"),
        ({"board": {"before": {**BOARD, "power_mode": "15W"}}}, "power mode: MAXN and 15W"),
        ({"threads": 4}, "threads: 2 and 4"),
        ({"device": "gpu"}, "device: cpu and gpu"),
        ({"options": {"allow_fallback": True}}, "option allow_fallback: False and True"),
        ({"stability": {"stable": False, "cause": "it drifts."}},
         "b.json is not stable: it drifts"),
    ],
)  # fmt: skip
def test_records_are_not_comparable_when_something_differs(
    pair: tuple[Path, Path], changed: dict[str, Any], reason: str
) -> None:
    change(pair[1], **changed)
    found = compare_records(*pair)
    assert (found["comparable"], found["reasons"]) == (False, [reason])
    assert found["rows"][0]["speedup"] is not None


def test_a_kernel_that_keeps_a_little_more_memory_is_no_other_machine(
    pair: tuple[Path, Path],
) -> None:
    change(pair[1], environment={"memory_mib": 7850})
    assert compare_records(*pair)["comparable"]


def test_older_records_have_a_ratio_without_an_interval(pair: tuple[Path, Path]) -> None:
    told = json.loads(pair[1].read_text())
    for row in (told, *told["batches"]):
        for key in ("samples_ms", "stability", "model_sha256"):
            del row[key]
    pair[1].write_text(json.dumps(told))
    found = compare_records(*pair)
    assert found["same_model"] is None
    assert len(found["reasons"]) == 2
    (row,) = found["rows"]
    assert row["speedup"] is not None
    assert row["speedup"]["low"] is None
    assert "too few raw samples" in str(row["speedup_note"])


def test_command_compares_records_and_fails_only_the_strict(pair: tuple[Path, Path]) -> None:
    change(pair[1], threads=4)
    given = ["compare", *map(str, pair)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0
    assert "not comparable:" in done.stdout
    assert "threads: 2 and 4" in done.stdout
    strict = CliRunner().invoke(app, [*given, "--strict"])
    assert isinstance(strict.exception, CheckError)
    assert "threads: 2 and 4" in str(strict.exception)


@pytest.mark.parametrize("more", [["--rounds", "5"], ["--data", "digits"], ["c.json"]])
def test_command_refuses_what_has_no_effect_on_records(
    pair: tuple[Path, Path], more: list[str]
) -> None:
    done = CliRunner().invoke(app, ["compare", *map(str, pair), *more])
    assert isinstance(done.exception, InputError)


def test_records_are_refused_when_they_are_something_else(pair: tuple[Path, Path]) -> None:
    pair[1].write_text('{"schema": 1}')
    with pytest.raises(InputError, match="record of profile"):
        compare_records(*pair)
    change(pair[0], batch=8)
    pair[1].write_text(json.dumps(record(1, 5.0)))
    with pytest.raises(InputError, match="no batch size in common"):
        compare_records(*pair)


def test_model_sha256_is_of_the_weights_too(tmp_path: Path) -> None:
    model, weights = tmp_path / "m.xml", tmp_path / "m.bin"
    model.write_text("<net/>")
    alone = model_sha256(model)
    weights.write_bytes(b"1")
    first = model_sha256(model)
    weights.write_bytes(b"2")
    assert len({alone, first, model_sha256(model)}) == 3
    assert model_sha256(tmp_path / "none") is None
