"""The top-1 that a manifest tells, and the images that it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeresnet.device.bundle.manifest import UNKNOWN, Manifest
from edgeresnet.device.data.dataset import places_drawn_by_name
from edgeresnet.device.data.remembered import names_fingerprint
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.told_top1 import ToldTop1, told_top1
from tests.fakes import FakeDataset

NAMES = [str(number) for number in range(20)]


class Photos(FakeDataset):
    """Images that keep their names in a part of them."""

    def __init__(self, names: list[str]) -> None:
        super().__init__([int(name) % 4 for name in names], classes=4)
        self.names = names

    def file_name(self, index: int) -> str:
        return self.names[index]

    def subset(self, indices: Any) -> Photos:
        return Photos([self.names[i] for i in indices])


def manifest_of(provenance: dict[str, Any], arch: str = UNKNOWN, precision: str = "fp32") -> Any:
    manifest = object.__new__(Manifest)
    for key, value in {"provenance": provenance, "arch": arch, "precision": precision}.items():
        object.__setattr__(manifest, key, value)
    return manifest


def adopted(**more: Any) -> dict[str, Any]:
    return {"adopted": {"n": 8, "top1": 0.5, **more}}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_told_top1_is_that_of_the_adoption_when_the_file_was_adopted(precision: str) -> None:
    found = told_top1(manifest_of(adopted(seed=3, images_fingerprint="ab"), precision=precision))
    assert found == ToldTop1(0.5, 8, 3, "ab")


def test_told_top1_is_that_of_all_images_when_an_older_adoption_has_no_seed() -> None:
    assert told_top1(manifest_of(adopted())) == ToldTop1(0.5, 8)


def test_told_top1_is_that_of_the_adoption_when_a_float_export_was_not_trained_since() -> None:
    told = adopted(seed=0)
    assert told_top1(manifest_of(told, arch="resnet18")) == ToldTop1(0.5, 8, 0)
    trained = {**told, "top1": 0.75, "val_images": 20}
    assert told_top1(manifest_of(trained, arch="resnet18")) == ToldTop1(0.75, 20)
    assert told_top1(manifest_of({**told, "pruning": {"macs": 0.5}}, arch="resnet18")) is None
    quantized = {**trained, "quantization": {"top1_int8": 0.25, "images": 12}}
    assert told_top1(manifest_of(quantized, "resnet18", "int8")) == ToldTop1(0.25, 12)


@pytest.mark.parametrize("told", ["yes", {"n": "8", "top1": 0.5}, {"n": 8}, None])
def test_told_top1_is_none_when_a_stranger_wrote_something_else(told: Any) -> None:
    assert told_top1(manifest_of({"adopted": told})) is None


def predictions() -> Predictions:
    """Each image's answer is its place."""
    logits = np.arange(20, dtype=np.float32)[:, None].repeat(4, axis=1)
    return Predictions(logits, np.arange(20) % 4, 0.0, 0.0)


def test_on_its_images_are_those_that_were_drawn_when_more_are_here() -> None:
    dataset: Any = Photos(NAMES)
    drawn = dataset.subset(places_drawn_by_name(dataset, 8, 5))
    told = ToldTop1(0.5, 8, 5, names_fingerprint(drawn))
    found = told.on_its_images(predictions(), dataset)
    assert found is not None
    assert [str(int(place)) for place in found.logits[:, 0]] == drawn.names
    assert found.labels.tolist() == list(drawn.labels)


def test_on_its_images_is_none_when_they_are_not_here() -> None:
    own = predictions()
    dataset: Any = Photos(NAMES)
    assert ToldTop1(0.5, 8, 5, "another").on_its_images(own, dataset) is None
    assert ToldTop1(0.5, 21, 5).on_its_images(own, dataset) is None
    assert ToldTop1(0.5, 8).on_its_images(own, dataset) is None
    assert ToldTop1(0.5, 20).on_its_images(own, dataset) is not None
