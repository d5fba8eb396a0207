"""Faster R-CNN on a backbone of ours: its levels go back into a checkpoint, and into INT8.

``pytest -m slow -s tests/detection`` trains it on 1,500 scenes, which takes 10 to 20 minutes on two
cores, and compares the mean average precision of the float backbone with that of the INT8 bundle,
run by ONNX Runtime inside the detector; then the same of its levels pruned to about half of their
channels, which the detector is trained on for a few epochs more.
"""

from __future__ import annotations

import copy
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
from edgeresnet.host.models.resnet import Widths
from edgeresnet.settings.inputs import InputSpec
from tests.detection.average_precision import evaluated, matches, paired_difference
from tests.detection.faster_rcnn import BundleLevels, detected, detector_on, fit, on_narrower
from tests.detection.scenes import SIDE, Scene, overlap, scenes
from tests.small_checkpoints import SLIM, make_checkpoint

LEVELS = ("C2", "C3", "C4", "C5")
TRAINED_ON, EPOCHS, AGAIN, COMPARED_ON = 1500, 10, 2, 500
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


@needs_images
def test_heads_stay_when_a_detector_gets_narrower_levels(tmp_path: Path) -> None:
    checkpoint = start()
    wide = detector_on(checkpoint)
    half = halved(checkpoint, wide, tmp_path, few=8)
    assert 0.45 < channels(half.widths) / channels(checkpoint.widths) < 0.6
    found = on_narrower(half, wide)
    head = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(found.state_dict()[head], wide.state_dict()[head])
    levels = found.backbone.body(torch.rand(1, 3, SIDE, SIDE))
    assert [level.shape[1] for level in levels.values()] == list(half.widths.streams)
    assert fit(found, scenes("train", 8), epochs=1) == 1


@pytest.fixture(scope="module")
def trained() -> tuple[Checkpoint, FasterRCNN]:
    checkpoint = start()
    detector = detector_on(checkpoint)
    timed_fit(detector, EPOCHS)
    return checkpoint, detector


def timed_fit(detector: FasterRCNN, epochs: int) -> None:
    began = time.monotonic()
    steps = fit(detector, scenes("train", TRAINED_ON), epochs=epochs, every=100)
    print(f"{steps} steps in {(time.monotonic() - began) / 60:.1f} minutes")


@pytest.mark.slow
@needs_images
def test_detector_is_as_good_when_its_levels_are_of_the_int8_bundle(
    trained: tuple[Checkpoint, FasterRCNN], tmp_path: Path
) -> None:
    checkpoint, detector = trained
    precision, low = compared_with_int8(checkpoint, copy.deepcopy(detector), tmp_path)
    assert precision > 0.4
    assert low >= -MOST_LOST


@pytest.mark.slow
@needs_images
def test_pruned_detector_is_as_good_when_its_levels_are_of_the_int8_bundle(
    trained: tuple[Checkpoint, FasterRCNN], tmp_path: Path
) -> None:
    checkpoint, wide = trained
    half = halved(checkpoint, wide, tmp_path)
    detector = on_narrower(half, wide)
    timed_fit(detector, AGAIN)
    precision, low = compared_with_int8(half, detector, tmp_path)
    assert precision > 0.35
    assert low >= -MOST_LOST


def scenes_in(folder: Path, few: int = CALIBRATION) -> Path:
    """Scenes without labels, to calibrate and to score channels on."""
    data = folder / "scenes"
    if not data.exists():
        write(scenes("train", few, seed=1), data / "train")
        write(scenes("val", min(few, 64), seed=1), data / "val")
    return data


def halved(
    checkpoint: Checkpoint, detector: FasterRCNN, folder: Path, few: int = CALIBRATION
) -> Checkpoint:
    """A detector's levels with about half of their channels, by the size of their weights."""
    er.save_checkpoint(checkpoint.with_backbone(detector.backbone.body), folder / "wide.pt")
    er.prune(
        folder / "wide.pt", folder / "half.pt",
        er.PruneOptions(macs=0.31, criterion="l2", step=8, floor=0.5, images=few),
        context=er.TaskContext(data=str(scenes_in(folder, few))),
    )  # fmt: skip
    return er.load_checkpoint(folder / "half.pt")


def channels(widths: Widths) -> int:
    inner = [width for level in widths.inner for block in level for width in block]
    return sum([widths.stem, *widths.streams, *inner])


def compared_with_int8(
    checkpoint: Checkpoint, detector: FasterRCNN, folder: Path
) -> tuple[float, float]:
    """mAP of a trained detector, and the lower end of what it is with the INT8 bundle less that."""
    data = scenes_in(folder)
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
