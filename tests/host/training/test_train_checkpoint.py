from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.models.validation import predict_logits
from edgeresnet.host.training import train_checkpoint as train_module
from edgeresnet.host.training.fit import TrainResult
from edgeresnet.host.training.train_checkpoint import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import ModelSettings, TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

TINY = TrainOptions(epochs=1, batch_size=16, lr=0.01, augment="shift", workers=0)
SPEC = InputSpec(8)
NARROW = Widths(8, (8, 8, 8, 8), (((8,), (8,)),) * 4)


def run(**changes: Any) -> tuple[Checkpoint, TrainResult]:
    """A tiny training on digits; what is given goes over it."""
    model = {name: changes.pop(name) for name in ("arch", "stem", "weights") if name in changes}
    options = changes.pop("options", TINY)
    image_size = changes.pop("image_size", 8)
    context = TaskContext(**{"data": "digits", "limit": 40, **changes})
    return train_checkpoint(ModelSettings(**model), options, image_size=image_size, context=context)


def narrow_weights(path: Path, classes: int = 10, size: int = 8) -> Checkpoint:
    """A small checkpoint of our own, with statistics that are not ImageNet's."""
    torch.manual_seed(0)
    model = build_resnet("resnet18", classes, "small", NARROW)
    names = tuple(str(i) for i in range(classes))
    spec = InputSpec(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    weights = dict(model.state_dict())
    # Numbers that nobody gave stand for names.
    checkpoint = Checkpoint("resnet18", "small", NARROW, names, spec, weights, classes_known=False)
    save_checkpoint(checkpoint, path)
    return checkpoint


def test_train_checkpoint_survives_saving_when_trained_from_scratch(tmp_path: Path) -> None:
    checkpoint, result = run()
    save_checkpoint(checkpoint, tmp_path / "digits.pt")
    read = load_checkpoint(tmp_path / "digits.pt")
    assert (read.arch, read.stem, read.data) == ("resnet18", "small", "digits")
    assert read.classes == tuple("0123456789")
    assert read.input_spec == InputSpec(8)
    assert read.provenance["options"] == TINY.to_dict()
    assert read.provenance["top1"] == result.top1
    assert {"torch", "python"} <= read.provenance["trained_with"].keys()
    logits, labels = predict_logits(read.build(), open_dataset("digits", "val", limit=40), SPEC)
    assert (logits.argmax(1) == labels).mean() == result.top1


def test_train_checkpoint_keeps_widths_and_spec_when_given_weights(tmp_path: Path) -> None:
    start = narrow_weights(tmp_path / "w.pt", classes=7)
    checkpoint, _ = run(weights=str(tmp_path / "w.pt"), image_size=None)
    assert checkpoint.widths == NARROW
    assert checkpoint.input_spec == start.input_spec
    assert checkpoint.state_dict["fc.weight"].shape == (10, 8)


def test_train_checkpoint_begins_with_the_weights_when_fine_tuning(tmp_path: Path) -> None:
    start = narrow_weights(tmp_path / "w.pt")
    checkpoint, _ = run(weights=str(tmp_path / "w.pt"), options=replace(TINY, lr=1e-9))
    difference = checkpoint.state_dict["conv1.weight"] - start.state_dict["conv1.weight"]
    assert difference.abs().max() < 1e-6


@pytest.mark.slow
def test_train_checkpoint_learns_when_fine_tuning_a_narrow_network(tmp_path: Path) -> None:
    narrow_weights(tmp_path / "w.pt")
    # Half as many epochs end between 0.46 and 0.62, depending on seed and processor.
    options = replace(TINY, epochs=24, lr=0.1)
    _, result = run(weights=str(tmp_path / "w.pt"), options=options, limit=300)
    assert result.top1 > 0.5


@pytest.mark.parametrize(
    ("data", "size", "stem"), [("digits", 16, "small"), ("FOLDER", 224, "imagenet")]
)
def test_train_checkpoint_takes_size_and_stem_from_the_data_when_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, size: int, stem: str
) -> None:
    if data == "FOLDER":
        write_folder(tmp_path)
        data = str(tmp_path)
    monkeypatch.setattr(train_module, "fit", untrained)
    checkpoint, _ = run(data=data, image_size=None)
    assert (checkpoint.input_spec.image_size, checkpoint.stem) == (size, stem)


def untrained(model: torch.nn.Module, *args: Any, **more: Any) -> TrainResult:
    return TrainResult(dict(model.state_dict()), 0.0, 0, [], 0.0, 1)


def write_folder(root: Path) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


def test_train_checkpoint_says_what_it_left_out_when_images_are_broken(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "train" / "dog" / "0.png").write_bytes(b"not an image")
    narrow_weights(tmp_path / "w.pt")
    said: list[str] = []
    checkpoint, _ = run(
        data=str(tmp_path / "data"),
        weights=str(tmp_path / "w.pt"),
        limit=None,
        skip_broken=True,
        on_step=said.append,
    )
    assert said == ["left out 1 unreadable images: dog/0.png"]
    assert checkpoint.provenance["skipped"] == 1
    assert checkpoint.classes == ("cat", "dog")


def test_train_checkpoint_resumes_only_when_the_weights_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = narrow_weights(tmp_path / "w.pt")
    given = {"weights": str(tmp_path / "w.pt"), "resume_path": tmp_path / "resume.pt"}
    run(**given, progress=True)
    run(**given, progress=True)
    assert "resuming behind epoch 1" in capsys.readouterr().err
    # As a loss of power leaves it.
    (tmp_path / "resume.pt").write_bytes(b"")
    run(**given, progress=True)
    assert "is empty (0 bytes)): starting afresh" in capsys.readouterr().err
    changed = {name: tensor + 1 for name, tensor in start.state_dict.items()}
    save_checkpoint(replace(start, state_dict=changed), tmp_path / "w.pt")
    run(**given, progress=True)
    assert "starting afresh" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "resnet34"}, "are of resnet18, not resnet34"),
        ({"stem": "imagenet"}, "with stem small"),
    ],
)
def test_train_checkpoint_refuses_when_the_weights_are_of_another_network(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    narrow_weights(tmp_path / "w.pt")
    with pytest.raises(InputError, match=message):
        run(weights=str(tmp_path / "w.pt"), **changes)


def test_train_checkpoint_refuses_when_the_weights_are_quantized(
    int8_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    save_checkpoint(int8_checkpoint, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"are quantized \(int8\)"):
        run(weights=str(tmp_path / "w.pt"))


def test_train_checkpoint_refuses_when_the_arch_is_unknown() -> None:
    with pytest.raises(InputError, match="resnet19 is not known"):
        run(arch="resnet19")
