"""What every task says of somebody else's checkpoint, and which of its weights it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet.api.evaluate import evaluate
from edgeresnet.api.export import export
from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import open_model
from edgeresnet.api.profile import profile
from edgeresnet.api.train import take_checkpoint, train
from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.training import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.run.recipe import Recipe
from edgeresnet.run.stages import Run, train_stage
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions
from tests.conftest import CommandLine
from tests.host.models.foreign_networks import narrow, tensors_of


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Raw and averaged weights of ten outputs, with names from nobody."""
    torch.save(
        {"state_dict": tensors_of(narrow(outputs=10, seed=1)),
         "state_dict_ema": tensors_of(narrow(outputs=10, seed=2))},
        tmp_path / "both.pth",
    )  # fmt: skip
    return tmp_path / "both.pth"


@pytest.mark.parametrize(("raw", "told"), [(False, "EMA weights"), (True, "raw weights")])
def test_evaluate_says_what_it_assumed_when_the_checkpoint_is_foreign(
    both: Path, raw: bool, told: str
) -> None:
    lines: list[str] = []
    context = TaskContext(data="digits", limit=20, on_step=lines.append)
    evaluate(both, options=RunOptions(raw=raw), image_size=16, context=context)
    assert f"{both}: resnet18, 3x3 stem of stride 1 without max-pool" in lines[0]
    assert told in lines[0]


@pytest.mark.parametrize(
    ("said", "told"),
    [({"classes": True}, "classes as names.txt lists them"),
     ({"class_order": "natural"}, "classes by folder name in natural order"),
     ({}, "classes by sorted folder name (by number where images have no labels)")],
)  # fmt: skip
def test_evaluate_and_take_checkpoint_say_by_what_the_classes_are_when_the_user_tells(
    both: Path, tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(10))))
    given = {"classes_path": tmp_path / "names.txt"} if "classes" in said else said
    lines: list[str] = []
    context = TaskContext(data="digits", limit=20, on_step=lines.append, **given)
    evaluate(both, image_size=16, context=context)
    assert lines[0].endswith(f", {told}")
    taken: list[str] = []
    take_checkpoint(tmp_path / "own.pt", str(both), image_size=16, context=context,
                    on_step=taken.append)  # fmt: skip
    assert taken[0].endswith(f", {told}")
    assumed = load_checkpoint(tmp_path / "own.pt").provenance["assumed"]
    assert assumed.endswith(f", {told}")


def test_load_checkpoint_says_what_lists_the_classes_when_the_file_does(tmp_path: Path) -> None:
    by_name = {name: index for index, name in enumerate("abcde")}
    torch.save({"state_dict": tensors_of(narrow()), "class_to_idx": by_name}, tmp_path / "x.pth")
    assumed = load_checkpoint(tmp_path / "x.pth").provenance["assumed"]
    assert assumed.endswith(", classes by name, as class_to_idx lists them")


def test_profile_says_once_what_it_assumed_when_the_checkpoint_is_foreign(both: Path) -> None:
    lines: list[str] = []
    profile(both, image_size=16, batches=[1, 2], options=RunOptions(stem="small-pool"),
            on_step=lines.append)  # fmt: skip
    said = [line for line in lines if "resnet18, 3x3 stem of stride 1 with max-pool" in line]
    assert len(said) == 1
    assert said[0].startswith(f"{both}: ")


@pytest.mark.parametrize("name", ["x.onnx", "bundle"])
def test_open_model_refuses_when_raw_is_of_no_checkpoint(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(InputError, match="--raw says nothing"),
        open_model(tmp_path / name, options=RunOptions(raw=True)),
    ):
        pass


def test_load_checkpoint_refuses_when_raw_is_of_our_own(both: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    take_checkpoint(tmp_path / "own.pt", str(both), raw=True, on_step=lines.append)
    assert "raw weights" in lines[0]
    with pytest.raises(InputError, match="one set of weights"):
        load_checkpoint(tmp_path / "own.pt", raw=True)


def test_train_refuses_when_raw_has_no_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--raw is of weights"):
        train(tmp_path / "x.pt", ModelSettings(raw=True), TrainOptions(epochs=1),
              context=TaskContext(data="digits", limit=20))  # fmt: skip


def test_train_remembers_what_was_assumed_when_the_weights_are_foreign(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Result:
        state_dict = tensors_of(narrow(outputs=10))
        epochs_run, top1, threads = 1, 0.5, 1

    monkeypatch.setattr(train_checkpoint, "fit", lambda *args, **kwargs: Result)
    lines: list[str] = []
    context = TaskContext(data="digits", limit=20, on_step=lines.append)
    model, options = ModelSettings(weights=str(both)), TrainOptions(epochs=1)
    train(tmp_path / "x.pt", model, options, image_size=16, context=context)
    assert "EMA weights" in load_checkpoint(tmp_path / "x.pt").provenance["weights_assumed"]
    assert any("EMA weights" in line for line in lines)


def test_train_stage_keeps_older_keys_when_raw_is_not_given(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[dict[str, Any]] = []

    def stage(run: Run, name: str, settings: dict[str, Any], *rest: object) -> str:
        keyed.append(settings["model"])
        return "key"

    monkeypatch.setattr(Run, "stage", stage)
    for raw in (False, True):
        recipe = Recipe(name="x", data="digits", model=ModelSettings(weights=str(both), raw=raw))
        train_stage(Run(tmp_path, recipe, False, print), [])
    assert [sorted(model) for model in keyed] == [
        ["arch", "stem", "weights"], ["arch", "raw", "stem", "weights"],
    ]  # fmt: skip


def test_export_carries_what_was_assumed_when_the_checkpoint_is_foreign(
    both: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    bundle = export(both, tmp_path / "b", target="onnx", precision="fp32", image_size=16,
                    context=TaskContext(on_step=lines.append))  # fmt: skip
    assert not bundle.manifest.classes_known
    assert "EMA weights" in bundle.manifest.provenance["assumed"]
    assert any("EMA weights" in line for line in lines)
    assert "EMA weights" in inspect(tmp_path / "b")["assumed"]
    with open_model(tmp_path / "b") as opened:
        assert opened.classes is None
    older = json.loads(bundle.manifest.to_json())
    del older["classes_known"]
    assert not Manifest.from_json(json.dumps(older)).classes_known
    for given in ({"data": "digits"}, {"classes": list("abcdefghij")}):
        assert Manifest.from_json(json.dumps(older | given)).classes_known


def test_inspect_shows_what_was_assumed_when_the_checkpoint_is_foreign(
    both: Path, edgeresnet: CommandLine
) -> None:
    done = edgeresnet("inspect", both, "--raw")
    shown = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stderr
    assert "taken as resnet18, 3x3 stem of stride 1 without max-pool, ReLU" in shown
    assert "dilation, raw weights" in shown
    assert "left out: the EMA weights in state_dict_ema" in shown
