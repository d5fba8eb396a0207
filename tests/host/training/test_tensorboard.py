"""Figures of a training in the files of TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from edgeresnet.api.figures import on_board
from edgeresnet.cli.app import app
from edgeresnet.errors import InputError, MissingError
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.progress import TaskContext
from tests.small_checkpoints import SLIM, make_checkpoint


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by name, of one part of the work."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {
        name: [(event.step, event.value) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }


def run(*arguments: object) -> None:
    # Not within a process of its own: what is written is looked at, not what is printed.
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "slim.pt"
    save_checkpoint(make_checkpoint(size=8, widths=SLIM), path)
    return path


def test_training_leaves_loss_accuracy_and_learning_rate(start: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    run(
        "train", "--arch", "resnet18", "--weights", start, "--data", "digits", "--image-size", 8,
        "--limit", 40,
        "--epochs", 2, "--batch-size", 20, "--augment", "none", "-o", tmp_path / "t.pt",
        "--tensorboard", board, "--quiet",
    )  # fmt: skip
    found = scalars(board / "training")
    assert {name: [step for step, _ in values] for name, values in found.items()} == {
        "step/loss": [1, 2, 3, 4],
        "step/learning rate": [1, 2, 3, 4],
        "epoch/loss": [1, 2],
        "epoch/training top-1": [1, 2],
        "epoch/learning rate": [1, 2],
        "epoch/validation top-1": [1, 2],
    }
    of_first_epoch = [value for _, value in found["step/loss"][:2]]
    assert found["epoch/loss"][0][1] == pytest.approx(sum(of_first_epoch) / 2, rel=1e-4)
    assert 0 <= found["epoch/validation top-1"][1][1] <= 1


def test_quantizing_leaves_its_rungs(start: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    run(
        "quantize", start, "--data", "digits", "--limit", 40, "--method", "ptq",
        "--calibration-images", 20, "-o", tmp_path / "q.pt", "--tensorboard", board, "--quiet",
    )  # fmt: skip
    found = scalars(board / "rungs")
    assert set(found) == {"rung/top1_int8", "rung/drop", "rung/agreement", "rung/seconds"}
    assert [step for step, _ in found["rung/agreement"]] == [1]


def test_without_tensorboard_nothing_is_trained_and_the_command_is_named(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("edgeresnet.api.figures.find_spec", lambda name: None)
    with (
        pytest.raises(MissingError, match="not installed") as error,
        on_board(TaskContext(), tmp_path / "board"),
    ):
        pytest.fail("begun")
    assert error.value.fix.startswith("pip install 'edgeresnet[tensorboard]'")
    assert error.value.exit_code == 3
    assert not (tmp_path / "board").exists()
    with on_board(TaskContext(), None) as context:
        assert context == TaskContext()


def test_a_folder_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("mine")
    with (
        pytest.raises(InputError, match="--tensorboard"),
        on_board(TaskContext(), tmp_path / "board"),
    ):
        pytest.fail("begun")
