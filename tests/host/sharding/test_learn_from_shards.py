"""What is learned from shards, and measured on them, is what it is from the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgeresnet.api.evaluate import evaluate
from edgeresnet.device.data.open import open_dataset
from edgeresnet.host.models import pixels
from edgeresnet.host.training.batches import TrainBatches
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import TrainOptions
from tests.class_folders import opens, reader_of, write_classes
from tests.shards import photos, sharded

OPTIONS = TrainOptions(batch_size=4, seed=3, workers=0, augment="light")


@pytest.fixture
def batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[TrainBatches]:
    """Of a folder and of its shards; streamed, where the test asks for it."""
    if request.param == "streamed":
        monkeypatch.setattr(pixels, "RESIDENT_BYTES", 0)
    root = photos(tmp_path / "photos")
    specs = root, sharded(root, tmp_path / "shards")
    return [
        TrainBatches(open_dataset(str(one), "train"), InputSpec(8), OPTIONS, torch.device("cpu"))
        for one in specs
    ]


@pytest.mark.parametrize("batches", ["in memory", "streamed"], indirect=True)
def test_epochs_have_the_folders_order_and_go_on_from_their_middle(
    batches: list[TrainBatches],
) -> None:
    folder, shards = batches
    for epoch in (0, 1):
        whole = list(folder.epoch(epoch))
        for first in (0, 1):
            of_shards = list(shards.epoch(epoch, first))
            assert len(of_shards) == len(whole) - first
            for (x, labels), (same_x, same_labels) in zip(whole[first:], of_shards, strict=True):
                assert torch.equal(x, same_x)
                assert torch.equal(labels, same_labels)
    orders = [torch.cat([labels for _, labels in shards.epoch(e)]).tolist() for e in (0, 1)]
    assert orders[0] != orders[1]


def test_evaluate_on_shards_is_evaluate_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of the last class show another.
    images = {"a": (0, 6), "b": (1, 6), "c": (1, 4)}
    for part in ("train", "val"):
        write_classes(tmp_path / "photos" / part, images)
    shards = sharded(tmp_path / "photos", tmp_path / "shards")
    specs = tmp_path / "photos", shards, shards / "val-{000000..000003}.tar"
    results = []
    for limit in (None, 5):
        for spec in specs:
            opens(monkeypatch, reader_of(["a", "b", "c"], outputs=3))
            context = TaskContext(data=str(spec), limit=limit)
            result = evaluate("m", context=context)
            for key in ("data", "preprocess_ms", "run_ms"):
                del result[key]  # type: ignore[misc]
            # As text, in which a class without images (nan) is equal to itself.
            results.append(json.dumps(result))
    whole, drawn = results[:3], results[3:]
    assert json.loads(whole[0])["n"] == 16
    assert json.loads(whole[0])["top1"] == 0.75
    assert json.loads(drawn[0])["n"] == 5
    assert whole == [whole[0]] * 3
    assert drawn == [drawn[0]] * 3
