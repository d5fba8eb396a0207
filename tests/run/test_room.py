"""Room for what will be written is looked for before hours of work, and not after."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeresnet.api.adopt import adopt
from edgeresnet.errors import MissingError
from edgeresnet.progress import TaskContext
from edgeresnet.run import runner
from edgeresnet.run.room import network_bytes
from edgeresnet.settings.training import ModelSettings
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.run.test_runner import tiny
from tests.small_models import write_onnx


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=size))


def test_run_is_refused_before_its_first_stage_when_the_disk_would_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def began(*arguments: object) -> None:
        raise AssertionError("the run began")

    monkeypatch.setattr(runner, "train_stage", began)
    free(monkeypatch, 300_000_000)
    with pytest.raises(MissingError, match=r"what the run makes takes about 313 MB, and 300 MB"):
        runner.run_recipe(tiny(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    free(monkeypatch, 320_000_000)
    with pytest.raises(AssertionError, match="the run began"):
        runner.run_recipe(tiny(tmp_path), tmp_path / "run")
    # What has begun is not measured again: most of it may stand.
    free(monkeypatch, 0)
    (tmp_path / "run" / ".stages").mkdir(parents=True)
    (tmp_path / "run" / ".stages" / "01-train.json").write_text("{}")
    with pytest.raises(AssertionError, match="the run began"):
        runner.run_recipe(tiny(tmp_path), tmp_path / "run")


@pytest.mark.parametrize("name", ["foreign.pth", "foreign.onnx"])
def test_adopt_is_refused_when_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = tmp_path / name
    if source.suffix == ".onnx":
        write_onnx(source)
    else:
        narrow_weights(source)
    free(monkeypatch, 100)
    with pytest.raises(MissingError, match=rf"{name} takes about .*, and .* are free"):
        adopt(source, tmp_path / "out", context=TaskContext(data="digits"))
    assert not (tmp_path / "out").exists()


def test_size_of_a_network_is_of_its_file_or_its_architecture(tmp_path: Path) -> None:
    narrow_weights(tmp_path / "w.pt")
    size = (tmp_path / "w.pt").stat().st_size
    assert network_bytes(ModelSettings(weights=str(tmp_path / "w.pt"))) == size
    assert network_bytes(ModelSettings(arch="resnet50")) == pytest.approx(4 * 23.53e6, rel=0.01)
    assert network_bytes(ModelSettings(weights="torchvision:IMAGENET1K_V1")) == 0
