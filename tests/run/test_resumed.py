"""What a run says when it goes on, and what a failed stage leaves in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.errors import CheckError, InputError
from edgeresnet.files import writing
from edgeresnet.run.folder import check_folder
from edgeresnet.run.stages import STAGE_VERSIONS, Run
from tests.run.test_stages import load_any

SETTINGS: dict[str, Any] = {
    "model": {"arch": "resnet18", "weights": "aa read 4"},
    "train": {"lr": 0.1, "epochs": 2},
    "data": ["11", "22"],
}
Staged = Callable[..., list[str]]


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Runs one stage of such settings, and gives the lines that it says."""

    def run(
        settings: dict[str, Any], name: str = "01-train", error: Exception | None = None
    ) -> list[str]:
        lines: list[str] = []
        output = tmp_path / "run" / name / "checkpoint.pt"

        def work() -> None:
            if error is not None:
                raise error
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("weights")

        of = Run(tmp_path / "run", load_any(), progress=False, on_step=lines.append)
        of.stage(name, settings, output, work)
        return lines

    return run


def failed(staged: Staged, error: Exception, settings: dict[str, Any] = SETTINGS) -> None:
    with pytest.raises(type(error)):
        staged(settings, error=error)


def test_a_kept_stage_says_why(staged: Staged) -> None:
    assert staged(SETTINGS)[0] == "01-train: running"
    (line,) = staged(SETTINGS)
    assert line.startswith("01-train: done before in 0 s; kept, because its settings, images and")
    later = {"before": "aa", "quantize": {"method": "ptq"}}
    staged(later, "03-quantize")
    (line,) = staged(later, "03-quantize")
    assert line.endswith("because its settings and what it begins with are the same")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": {"lr": 0.05, "epochs": 2}}, "train.lr was 0.1, and is 0.05"),
        ({"train": None}, "train.lr was 0.1, and is not set now; train.epochs was 2"),
        ({"limit": 60}, "limit was not set, and is 60"),
        ({"data": ["11", "33"]}, "the validation images or their classes are others"),
        ({"data": ["33", "22"]}, "the training images or their classes are others"),
        (
            {"model": {"arch": "resnet18", "weights": "bb read 4"}},
            "the weights, or what lies beside them, are others",
        ),
        ({"before": "aa"}, "what it begins with is another"),
    ],
)
def test_a_stage_that_is_done_again_says_what_changed(
    staged: Staged, changed: dict[str, Any], told: str
) -> None:
    staged(SETTINGS)
    why, running = staged({**SETTINGS, **changed})[:2]
    assert why.startswith(f"01-train: is done again, because {told}")
    assert running == "01-train: running"


def test_a_stage_that_is_done_again_says_so_of_its_version_its_output_and_its_record(
    staged: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(SETTINGS)
    (tmp_path / "run" / "01-train" / "checkpoint.pt").unlink()
    assert staged(SETTINGS)[0].endswith("because checkpoint.pt is not there any more")
    record = tmp_path / "run" / ".stages" / "01-train.json"
    record.write_bytes(b"")
    assert staged(SETTINGS)[0].startswith("01-train: is done again, because stage record")
    monkeypatch.setitem(STAGE_VERSIONS, "01-train", 999)
    assert staged(SETTINGS)[0].endswith("because this version of edgeresnet does it otherwise")


def test_the_record_of_an_older_version_stands_and_tells_less(
    staged: Staged, tmp_path: Path
) -> None:
    staged(SETTINGS)
    record = tmp_path / "run" / ".stages" / "01-train.json"
    older = {k: v for k, v in json.loads(record.read_text()).items() if k in ("key", "stage")}
    record.write_text(json.dumps({**older, "seconds": 90.0}))
    assert staged(SETTINGS) == [
        "01-train: done before in 2 min; kept, because its settings, images and weights are the "
        "same"
    ]
    assert "an older version does not tell" in staged({**SETTINGS, "limit": 60})[0]


def test_a_failed_stage_leaves_its_error_settings_and_versions(
    staged: Staged, tmp_path: Path
) -> None:
    place = tmp_path / "run" / ".stages" / "01-train.failed.json"
    failed(staged, CheckError("the loss is NaN", "give a lower --lr."))
    left = json.loads(place.read_text())
    assert (left["stage"], left["kind"]) == ("01-train", "CheckError")
    assert left["message"] == "the loss is NaN\ngive a lower --lr."
    assert left["settings"] == SETTINGS
    assert {"edgeresnet", "python", "torch", "onnxruntime"} <= {*left["versions"]}
    assert "traceback" not in left
    lines = staged({**SETTINGS, "train": {"lr": 0.05, "epochs": 2}})
    assert lines[:2] == [
        "01-train: failed before: the loss is NaN",
        "01-train: since it failed, train.lr was 0.1, and is 0.05",
    ]
    assert not place.exists()


def test_a_fault_of_ours_leaves_its_traceback_and_no_place_of_this_machine(
    staged: Staged, tmp_path: Path
) -> None:
    failed(staged, ZeroDivisionError(f"of {tmp_path}/secret/photo.png"))
    text = (tmp_path / "run" / ".stages" / "01-train.failed.json").read_text()
    left = json.loads(text)
    assert left["message"] == "of photo.png"
    assert "ZeroDivisionError: of photo.png" in left["traceback"]
    assert 'File "edgeresnet/run/stages.py", line' in left["traceback"]
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_the_error_itself_is_raised_when_it_cannot_be_kept(
    staged: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_text", full)
    failed(staged, InputError("the disk is full", "make room."))
    assert not (tmp_path / "run" / ".stages" / "01-train.failed.json").exists()


def test_a_run_that_was_copied_without_its_records_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "01-train").mkdir()
    with pytest.raises(InputError, match="if it was copied from one, copy its"):
        check_folder(tmp_path, ".stages")
