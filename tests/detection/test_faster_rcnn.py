"""Faster R-CNN on a backbone of ours: its levels go back into a checkpoint, and into INT8.

``pytest -m slow -s tests/detection`` trains it on 1,500 scenes, which takes 10 to 20 minutes on two
cores, and compares the mean average precision of the float backbone with that of the INT8 bundle,
run by ONNX Runtime inside the detector.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.models.detection import FasterRCNN

import edgeresnet as er
from edgeresnet.device.data.standard import standard_files
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.inputs import InputSpec
from tests.conftest import SLIM, make_checkpoint
from tests.detection.average_precision import evaluated, matches, paired_difference
from tests.detection.faster_rcnn import BundleLevels, detected, detector_on, fit
from tests.detection.scenes import SIDE, Scene, overlap, scenes

LEVELS = ("C2", "C3", "C4", "C5")
TRAINED_ON, EPOCHS, COMPARED_ON = 1500, 10, 500
CALIBRATION = 256
# Of mean average precision, from IoU 0.5 to 0.95: at the worse end of its 95 % interval.
MOST_LOST = 0.01

needs_images = pytest.mark.skipif(
    not standard_files("fashion-mnist", "val"), reason="sudo apt-get install dataset-fashion-mnist"
)


def start() -> Checkpoint:
    """A slim ResNet-18 that has learned nothing, for whole scenes."""
    found = make_checkpoint(stem="imagenet", widths=SLIM, size=SIDE)
    return replace(found, input_spec=InputSpec(SIDE, crop_ratio=1.0))


def write(some: list[Scene], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, scene in enumerate(some):
        Image.fromarray(scene.pixels).save(folder / f"{number:04}.png")


@needs_images
def test_scenes_are_the_same_when_made_again() -> None:
    few, more = scenes("val", 3), scenes("val", 5)
    assert all((a.pixels == b.pixels).all() for a, b in zip(few, more, strict=False))
    for scene in more:
        assert 1 <= len(scene.boxes) == len(scene.labels) <= 4
        assert scene.boxes.min() >= 0
        assert scene.boxes.max() <= SIDE
        pairs = [(a, b) for i, a in enumerate(scene.boxes) for b in scene.boxes[:i]]
        assert all(overlap(a, b) <= 0.2 for a, b in pairs)


@needs_images
def test_detector_learns_and_its_levels_return_when_trained_for_two_steps() -> None:
    checkpoint = start()
    before = checkpoint.state_dict["layer4.1.conv2.weight"].clone()
    detector = detector_on(checkpoint)
    assert fit(detector, scenes("train", 16), epochs=1) == 2
    trained = checkpoint.with_backbone(detector.backbone.body)
    assert not torch.equal(trained.state_dict["layer4.1.conv2.weight"], before)
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        own, theirs = trained.backbone()(images), detector.backbone.body(images)
    for name, value in zip(LEVELS, theirs.values(), strict=True):
        assert torch.equal(own[name], value)


@pytest.mark.slow
@needs_images
def test_detector_is_as_good_when_its_levels_are_of_the_int8_bundle(tmp_path: Path) -> None:
    checkpoint = start()
    detector = detector_on(checkpoint)
    began = time.monotonic()
    steps = fit(detector, scenes("train", TRAINED_ON), epochs=EPOCHS, every=100)
    print(f"{steps} steps in {(time.monotonic() - began) / 60:.1f} minutes")
    precision, low = compared_with_int8(checkpoint, detector, tmp_path)
    assert precision > 0.4
    assert low >= -MOST_LOST


def compared_with_int8(
    checkpoint: Checkpoint, detector: FasterRCNN, folder: Path
) -> tuple[float, float]:
    """mAP of a trained detector, and the lower end of what it is with the INT8 bundle less that."""
    data = folder / "scenes"
    write(scenes("train", CALIBRATION, seed=1), data / "train")
    write(scenes("val", 64, seed=1), data / "val")
    files = {name: folder / name for name in ("levels.pt", "levels-int8.pt", "levels")}
    er.save_checkpoint(checkpoint.with_backbone(detector.backbone.body), files["levels.pt"])
    figures = er.quantize(
        files["levels.pt"], files["levels-int8.pt"], er.QuantizeOptions(method="ptq"),
        context=er.TaskContext(data=str(data)),
    )  # fmt: skip
    er.export(
        files["levels-int8.pt"], files["levels"], target="onnx", precision="int8",
        options=er.ExportOptions(features=LEVELS, logits=False),
    )  # fmt: skip
    compared = scenes("val", COMPARED_ON)
    of_float = evaluated(compared, detected(detector, compared))
    with er.open_model(files["levels"]) as model:
        detector.backbone.body = BundleLevels(model.session, LEVELS)
        of_int8 = evaluated(compared, detected(detector, compared))
    difference, low, high = paired_difference(matches(of_float), matches(of_int8))
    print(
        f"mAP {of_float.stats[0]:.4f} float, {of_int8.stats[0]:.4f} INT8: {difference:.4f} "
        f"({low:.4f} to {high:.4f}); at IoU 0.5 {of_float.stats[1]:.4f}, {of_int8.stats[1]:.4f}; "
        f"cosine {figures['cosine']}"
    )
    return float(of_float.stats[0]), low
