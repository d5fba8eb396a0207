"""What commands make of shards is what they make of the folder, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.models.pixels import Normalizer, load_pixels
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.shards import photos, sharded

QUANTIZE = ("quantize", "n.pt", "-o", "OUT.pt", "--method")
BRIEF = ("--epochs", "1", "--batch-size", "8", "--augment", "light")
# Of a run and of a comparison these are measured, or say what is measured where.
OF_THIS_TIME = {"seconds", "data", "environment", "board", "doubts"}
RECIPE = """
name: tiny
data: photos
image_size: 8
model: {weights: n.pt}
train: {epochs: 1, batch_size: 8, augment: light}
prune: {macs: 0.8, step: 4, images: 16, train: {epochs: 1, batch_size: 8, augment: light}}
quantize: {method: ptq, calibration_images: 12}
export: {targets: [onnx], precisions: [int8]}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, its shards and a network of their classes; one is there."""
    sharded(photos(tmp_path / "photos", train=12, val=6, size=8), tmp_path / "shards", each=5)
    network = narrow_weights(tmp_path / "n.pt", classes=2)
    named = replace(network, classes=("cat", "dog"), classes_known=True)
    save_checkpoint(named, tmp_path / "n.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same_tensors(one: Path, other: Path) -> None:
    mine, theirs = load_checkpoint(one).state_dict, load_checkpoint(other).state_dict
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def settled(told: Any) -> Any:
    """Without what is another each time: times, and what is said of them."""
    if isinstance(told, dict):
        return {key: settled(value) for key, value in told.items() if key not in OF_THIS_TIME}
    return [settled(value) for value in told] if isinstance(told, list) else told


@pytest.mark.parametrize(
    "arguments",
    [
        (*QUANTIZE, "ptq"),
        pytest.param((*QUANTIZE, "qat", *BRIEF), marks=pytest.mark.slow),
        ("prune", "n.pt", "-o", "OUT.pt", "--macs", "0.8", "--step", "4", *BRIEF),
    ],
    ids=lambda given: f"{given[0]}-{given[5]}",
)
def test_a_command_makes_the_same_network_of_both(
    place: Path, command: Command, arguments: Sequence[str]
) -> None:
    for data in ("photos", "shards"):
        own = [one.replace("OUT", data) for one in arguments]
        code, _, err = command(*own, "--data", data, "--json", f"{data}.json")
        assert code == 0, err
    assert_same_tensors(place / "photos.pt", place / "shards.pt")
    one, other = (json.loads((place / f"{data}.json").read_text()) for data in ("photos", "shards"))
    assert settled(one) == settled(other)


def answers(path: Path) -> Any:
    """All that a comparison's results tell of which image got which answers."""
    result = json.loads(path.read_text())
    named = [
        {**changed, "image": "/".join(changed["image"].split("/")[-2:])}
        for changed in result["changed_images"]
    ]
    keys = ("top1", "top5", "agreement", "top1_difference", "divergence")
    return named, [[row[key] for key in keys] for row in result["rows"]]


def of_two_minds(path: Path, photos: Path, share: float) -> None:
    """A network that answers this share of the validation images with the second class."""
    checkpoint = narrow_weights(path, classes=2)
    tensors = dict(checkpoint.state_dict)
    model = checkpoint.build().eval()
    pixels = load_pixels(open_dataset(str(photos), "val"), checkpoint.input_spec)
    with torch.inference_mode():
        logits = model(Normalizer(checkpoint.input_spec, torch.device("cpu"))(pixels))
    middle = (logits[:, 0] - logits[:, 1]).quantile(share)
    tensors["fc.bias"] = tensors["fc.bias"] + torch.stack([-middle / 2, middle / 2])
    save_checkpoint(replace(checkpoint, state_dict=tensors), path)


def compared(place: Path, command: Command, data: str) -> Any:
    told = ("--data", data, "--json", f"{data}.json", "--class-order", "sorted", "--rounds", 2)
    code, _, err = command("compare", "a.pt", "b.pt", *told)
    assert code == 0, err
    return answers(place / f"{data}.json")


@pytest.fixture
def two_networks(place: Path) -> Path:
    """They answer four of twelve images each in its own way."""
    for name, share in (("a.pt", 1 / 3), ("b.pt", 2 / 3)):
        of_two_minds(place / name, place / "photos", share)
    return place


@pytest.mark.slow
def test_a_comparison_answers_each_image_the_same_on_both(
    two_networks: Path, command: Command
) -> None:
    one, other = (compared(two_networks, command, data) for data in ("photos", "shards"))
    assert len(one[0]) == 4
    assert one == other


@pytest.mark.slow
def test_a_comparison_answers_otherwise_when_shards_exchange_images_in_pairs(
    two_networks: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison of both would notice: labels, numbers and all images are the same."""
    content = ShardDataset.content
    monkeypatch.setattr(ShardDataset, "content", lambda own, index: content(own, index ^ 1))
    one, other = (compared(two_networks, command, data) for data in ("photos", "shards"))
    assert one[0] != other[0]


@pytest.mark.slow
def test_a_run_comes_to_the_same_on_both(place: Path, command: Command) -> None:
    (place / "r.yaml").write_text(RECIPE)
    for data in ("photos", "shards"):
        code, _, err = command("run", "r.yaml", "--set", f"data={data}", "-o", f"run-{data}", "-q")
        assert code in (0, 1), err
    runs = [place / f"run-{data}" for data in ("photos", "shards")]
    checkpoints = sorted(path.relative_to(runs[0]) for path in runs[0].rglob("*.pt"))
    assert len(checkpoints) == 4
    for path in checkpoints:
        assert_same_tensors(*(run / path for run in runs))
    for name in ("onnx-int8/model.onnx", "onnx-int8/golden.npz"):
        one, other = ((run / "04-export" / name).read_bytes() for run in runs)
        assert one == other
    one, other = (answers(run / "results.json") for run in runs)
    assert one == other
