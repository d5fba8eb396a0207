"""What is done to odd images is said, with how many they are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import default_loader

import edgeresnet as er
from edgeresnet.device.data.conversions import Conversions
from edgeresnet.device.data.open import conversions_of, open_dataset
from edgeresnet.device.data.preprocess import to_rgb
from edgeresnet.host.training.batches import _Batch, _collate, _Views
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from tests.class_folders import opens, reader_of
from tests.host.training.test_train_checkpoint import narrow_weights


def write_odd(folder: Path) -> Path:
    """Two classes: seven plain images, two rotated, one of 16 bits, two with transparency."""
    colours = np.random.default_rng(0).integers(0, 255, (8, 12, 4), np.uint8)
    photo, turned = Image.fromarray(colours[..., :3]), Image.Exif()
    turned[0x0112] = 6
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        photo.save(folder / name / "turned.jpg", exif=turned)
        Image.fromarray(colours[..., :3]).save(folder / name / "plain.png")
    upright = Image.Exif()
    upright[0x0112] = 1
    photo.save(folder / "a" / "upright.jpg", exif=upright)
    Image.fromarray(colours[..., 0].astype(np.uint16) * 200).save(folder / "b" / "wide.png")
    Image.fromarray(colours).save(folder / "a" / "alpha.png")
    palette = photo.quantize(4)
    palette.save(folder / "b" / "clear.png", transparency=0)
    palette.save(folder / "b" / "palette.png")
    colours[..., 3] = 255
    Image.fromarray(colours).save(folder / "b" / "opaque.png")
    Image.fromarray(colours[..., ::3]).convert("LA").save(folder / "b" / "opaque_grey.png")
    return folder


def test_conversions_are_of_the_images_that_torchvision_reads_otherwise(tmp_path: Path) -> None:
    folder = write_odd(tmp_path)
    otherwise = {
        path.name
        for path in folder.rglob("*.*")
        if not np.array_equal(to_rgb(Image.open(path)), np.asarray(default_loader(str(path))))
    }
    assert otherwise == {"turned.jpg", "wide.png", "alpha.png", "clear.png"}
    (tmp_path / "val").mkdir()
    for name in ("a", "b"):
        (folder / name).rename(tmp_path / "val" / name)
    dataset = open_dataset(str(tmp_path), "val")
    for index in [*range(len(dataset)), 0, 1]:
        dataset.subset([index]).image(0)
    found = conversions_of([dataset, dataset])
    assert found.counts() == {"rotated": 2, "transparent": 2, "of_16_bits": 1}
    said = found.lines()
    assert said[0].startswith("2 images turned upright as their EXIF says")
    assert said[1].startswith("2 images with transparent pixels, which are black now")
    assert said[2].startswith("1 image of 16 bits scaled to 8")
    assert Conversions().lines() == []


def test_quantize_says_conversions_once(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_odd(tmp_path / "photos" / split)
    narrow_weights(tmp_path / "w.pt", classes=2)
    said: list[str] = []
    context = TaskContext(data=str(tmp_path / "photos"), on_step=said.append)
    options = er.QuantizeOptions(method="ptq", calibration_images=10)
    result = er.quantize(tmp_path / "w.pt", tmp_path / "q.pt", options, context=context)
    assert result["conversions"] == {"rotated": 4, "transparent": 4, "of_16_bits": 2}
    assert [line for line in said if "EXIF" in line] == [
        "4 images turned upright as their EXIF says (torchvision's ImageFolder and timm leave them "
        "as they lie)"
    ]


@pytest.mark.parametrize(
    ("task", "workers"),
    [("train", 0), ("prune", 0), pytest.param("train", 1, marks=pytest.mark.slow)],
)
def test_trainings_say_conversions_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, workers: int
) -> None:
    for split in ("train", "val"):
        write_odd(tmp_path / "photos" / split)
    narrow_weights(tmp_path / "w.pt", classes=2)
    # A larger set is read by worker processes, which count for themselves.
    monkeypatch.setattr("edgeresnet.host.training.batches.fits_in_memory", lambda *_: False)
    said: list[str] = []
    context = TaskContext(data=str(tmp_path / "photos"), on_step=said.append)
    training = er.TrainOptions(epochs=1, batch_size=12, augment="none", workers=workers)
    output = tmp_path / "out.pt"
    if task == "train":
        weights = er.ModelSettings(weights=str(tmp_path / "w.pt"))
        result: Any = er.train(output, weights, training, context=context)
    else:
        options = er.PruneOptions(pattern="2:4", train=training)
        result = er.prune(tmp_path / "w.pt", output, options, context=context)
    assert result["conversions"] == {"rotated": 4, "transparent": 4, "of_16_bits": 2}
    assert len([line for line in said if "EXIF" in line]) == 1


def test_training_counts_what_its_workers_converted(tmp_path: Path) -> None:
    write_odd(tmp_path / "val")
    dataset = open_dataset(str(tmp_path), "val")
    views = _Views(dataset, InputSpec(8), photo=False)
    elsewhere = pickle.loads(pickle.dumps(views))
    batch = _collate([elsewhere[index, 0] for index in range(len(dataset))])
    assert isinstance(batch, _Batch)
    assert conversions_of([dataset]).lines() == []
    for index, kinds in batch.converted:
        views.count(index, kinds)
    counts = conversions_of([dataset]).counts()
    assert counts == {"rotated": 2, "transparent": 2, "of_16_bits": 1}


@pytest.mark.parametrize("task", ["evaluate", "compare"])
def test_conversions_are_said_once_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    write_odd(tmp_path / "val")
    said: list[str] = []
    context = TaskContext(data=str(tmp_path), on_step=said.append)
    models = [reader_of(("a", "b"), outputs=2, name=name) for name in "mn"]
    opens(monkeypatch, *models)
    if task == "evaluate":
        result = er.evaluate("m", context=context)
    else:
        monkeypatch.setattr(
            "edgeresnet.api.compare.compare_models",
            lambda opened, dataset, *args, **kwargs: [dataset.image(i) for i in range(len(dataset))]
            and {"budgets": [], "rows": [], "strict": False},
        )  # fmt: skip
        result = er.compare(["m.pt", "n.pt"], rounds=2, context=context)
    assert result["conversions"] == {"rotated": 2, "transparent": 2, "of_16_bits": 1}
    assert len([line for line in said if "EXIF" in line]) == 1
