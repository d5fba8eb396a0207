"""Room for what will be written is looked for before hours of work, and not after."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeresnet.api.adopt import adopt
from edgeresnet.api.saving import check_room_to_train, network_bytes
from edgeresnet.api.train import train
from edgeresnet.errors import MissingError
from edgeresnet.progress import TaskContext
from edgeresnet.run import runner
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


def test_train_without_weights_is_refused_when_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def began(*arguments: object, **options: object) -> None:
        raise AssertionError("the training began")

    monkeypatch.setattr("edgeresnet.host.training.train_checkpoint.train_checkpoint", began)
    free(monkeypatch, 300_000_000)
    output, model = tmp_path / "out.pt", ModelSettings(arch="resnet18")
    with pytest.raises(MissingError, match=r"a training of resnet18 takes about 313 MB, and 300 M"):
        train(output, model, context=TaskContext(data="digits"))
    assert not [*tmp_path.iterdir()]
    free(monkeypatch, 320_000_000)
    with pytest.raises(AssertionError, match="the training began"):
        train(output, model, context=TaskContext(data="digits"))


@pytest.mark.parametrize("name", ["resume", "resume-2", "work/inner/x"])
def test_an_interrupted_task_needs_less_room_by_what_it_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    free(monkeypatch, 4000)
    (tmp_path / "w.pt").write_bytes(bytes(1000))
    resume_path = tmp_path / name.split("/")[0].removesuffix("-2")
    model = ModelSettings(weights=str(tmp_path / "w.pt"))
    with pytest.raises(MissingError, match=r"what is made of .*w.pt takes about 0.007 MB"):
        check_room_to_train(tmp_path / "out.pt", model, resume_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(bytes(3000))
    check_room_to_train(tmp_path / "out.pt", model, resume_path)


def test_size_of_a_network_is_of_its_file_or_its_architecture(tmp_path: Path) -> None:
    narrow_weights(tmp_path / "w.pt")
    size = (tmp_path / "w.pt").stat().st_size
    assert network_bytes(ModelSettings(weights=str(tmp_path / "w.pt"))) == size
    assert network_bytes(ModelSettings(arch="resnet50")) == pytest.approx(4 * 23.53e6, rel=0.01)
    assert network_bytes(ModelSettings(weights="torchvision:IMAGENET1K_V1")) == 0
