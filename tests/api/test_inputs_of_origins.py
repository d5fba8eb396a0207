"""Evaluation gives the pixels and answers of timm's and Hugging Face's own preprocessing.

What is under test is the way of a stranger's files: weights beside their configuration, loaded,
made into inputs and evaluated. The references are the packages themselves, and their published
rules in torchvision's and Pillow's own words where one is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import transforms

import edgeresnet as er
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import IMAGENET_MEAN, IMAGENET_STD
from tests.api.test_top1_of_torchvision import CLASSES, evened, reference, write_images
from tests.device.data.test_preprocess import photograph
from tests.host.models.foreign_networks import loaded, narrow, tensors_of

Said = dict[str, Any]
Transform = Callable[[Image.Image], torch.Tensor]
# Upright and lying, square and strips, smaller and larger than the input, one pixel off.
SIZES = ((224, 224), (225, 224), (223, 300), (301, 225), (100, 100), (90, 140), (500, 375),
         (375, 501), (257, 235), (235, 236), (288, 289), (640, 97), (1, 50))  # fmt: skip
NORMAL = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}


def timm_config(**fields: Any) -> Said:
    return {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.95,
            "crop_mode": "center", **NORMAL, **fields}  # fmt: skip


def processor(**fields: Any) -> Said:
    return {"image_processor_type": "ConvNextImageProcessor", "do_resize": True,
            "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255,
            "image_mean": NORMAL["mean"], "image_std": NORMAL["std"], "resample": 3,
            "crop_pct": 0.875, "size": {"shortest_edge": 224}, **fields}  # fmt: skip


# timm/models/resnet.py, of the weights in the comment.
TIMM = {
    "test size": timm_config(test_input_size=[3, 288, 288], test_crop_pct=1.0),  # resnet50.a1_in1k
    "0.95": timm_config(),  # resnet50.a1_in1k at its training size
    "bilinear": timm_config(interpolation="bilinear", crop_pct=0.875),  # resnet18.tv_in1k
    "gluon": timm_config(crop_pct=0.875),  # resnet50.gluon_in1k, resnet50.ra_in1k
    "squash": timm_config(crop_mode="squash", crop_pct=0.9),
    "half": timm_config(mean=[0.5] * 3, std=[0.5] * 3, crop_pct=0.965, input_size=[3, 176, 176]),
    "small": timm_config(input_size=[3, 64, 64]),
    "defaults": {"input_size": [3, 160, 160]},
}
HUGGING_FACE = {
    # microsoft/resnet-50, as it was published and as it is written today.
    "resnet-50": {"crop_pct": 0.875, "do_normalize": True, "do_resize": True, "resample": 3,
                  "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224,
                  "image_mean": NORMAL["mean"], "image_std": NORMAL["std"]},
    "today": processor(),
    "odd": processor(size={"shortest_edge": 223}, crop_pct=0.95, resample=2),
    "small": processor(size={"shortest_edge": 64}, crop_pct=0.85),
    "384": processor(size={"shortest_edge": 384}),
    "defaults": {"image_processor_type": "ConvNextImageProcessor"},
    "no type": {"size": {"shortest_edge": 160}, "do_resize": True},
    "as it is": processor(do_normalize=False, size={"shortest_edge": 64}),
    "Bit": processor(image_processor_type="BitImageProcessor", size={"shortest_edge": 73},
                     crop_size={"height": 64, "width": 64}, do_center_crop=True),
    "DeiT": {"image_processor_type": "DeiTImageProcessor"},
    "ViT": {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}},
}  # fmt: skip


def written(folder: Path, origin: str, said: Said, tensors: Said | None = None) -> Path:
    """A stranger's file, with the configuration beside it."""
    config: Said = {"model_type": "resnet", "num_labels": len(CLASSES)}
    config["id2label"] = dict(enumerate(CLASSES))
    if origin == "timm":
        config = {"architecture": "resnet18", "num_classes": len(CLASSES), "pretrained_cfg": said,
                  "label_names": CLASSES}  # fmt: skip
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    (folder / "config.json").write_text(json.dumps(config))
    loaded(folder, tensors or tensors_of(narrow(outputs=len(CLASSES), stem="imagenet")))
    return folder / "theirs.pth"


def by_timm(said: Said) -> Transform:
    # Its validation is at the test size, where there is one.
    config = resolve_data_config(pretrained_cfg=said, use_test_size=True)
    transform: Transform = create_transform(**config)
    return transform


def by_timms_rule(said: Said) -> Transform:
    """timm/data/transforms_factory.py, transforms_imagenet_eval, and its config.py's defaults."""
    size = said.get("test_input_size", said["input_size"])[-1]
    scale = floor(size / said.get("test_crop_pct", said.get("crop_pct", 0.875)))
    mode = transforms.InterpolationMode(said.get("interpolation", "bicubic"))
    squash = said.get("crop_mode") == "squash"
    rule: Transform = transforms.Compose([
        transforms.Resize((scale, scale) if squash else scale, mode),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize(said.get("mean", IMAGENET_MEAN), said.get("std", IMAGENET_STD)),
    ])  # fmt: skip
    return rule


def by_hugging_face(said: Said, folder: Path) -> Transform:
    package = pytest.importorskip("transformers", reason="needs transformers: pip install it")
    (folder / "config.json").write_text('{"model_type": "resnet"}')
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    made = package.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return lambda image: torch.from_numpy(made(image, return_tensors="np")["pixel_values"][0])


def by_hugging_faces_rule(said: Said) -> Transform:
    """transformers/models/convnext/image_processing_pil_convnext.py and image_transforms.py."""
    edge = said.get("size", {"shortest_edge": 384})
    edge = edge if isinstance(edge, int) else edge["shortest_edge"]
    mean, std = said.get("image_mean", [0.5] * 3), said.get("image_std", [0.5] * 3)
    if said.get("do_normalize") is False:
        mean, std = [0] * 3, [1] * 3
    shorter = int(edge / said.get("crop_pct", 224 / 256))

    def transform(image: Image.Image) -> torch.Tensor:
        sides = (edge, edge)
        if edge < 384:
            width, height = image.size
            longer = int(shorter * max(image.size) / min(image.size))
            sides = (shorter, longer) if width <= height else (longer, shorter)
        pixels = np.array(image.resize(sides, said.get("resample", 3)))
        top, left = ((side - edge) // 2 for side in pixels.shape[:2])
        cut = pixels[top : top + edge, left : left + edge] / np.float32(255)
        return torch.from_numpy(((cut - mean) / std).astype(np.float32).transpose(2, 0, 1))

    return transform


@cache
def images() -> dict[tuple[int, int], Image.Image]:
    return {size: photograph(*size, seed=seed) for seed, size in enumerate(SIZES)}


def grey_levels_apart(checkpoint: Checkpoint, *transforms: Transform) -> dict[Any, float]:
    """By reference and size of the image, the largest difference in grey levels of 255, over 1."""
    spec, apart = checkpoint.input_spec, {}
    for size, image in images().items():
        own = normalize(to_pixels(image, spec)[None], spec)[0]
        for i, transform in enumerate(transforms):
            theirs = transform(image).numpy()
            assert own.shape == theirs.shape
            levels = np.abs(own - theirs) * np.array(spec.std)[:, None, None] * 255
            apart[i, size] = float(levels.max())
    return {which: levels for which, levels in apart.items() if levels > 1}


@pytest.mark.parametrize("name", list(TIMM))
def test_pixels_are_timms_within_1_grey_level(tmp_path: Path, name: str) -> None:
    checkpoint = load_checkpoint(written(tmp_path, "timm", TIMM[name]))
    assert grey_levels_apart(checkpoint, by_timm(TIMM[name]), by_timms_rule(TIMM[name])) == {}


@pytest.mark.parametrize("name", list(HUGGING_FACE))
def test_pixels_are_hugging_faces_within_1_grey_level(tmp_path: Path, name: str) -> None:
    transform = by_hugging_face(HUGGING_FACE[name], tmp_path)
    checkpoint = load_checkpoint(written(tmp_path, "Hugging Face", HUGGING_FACE[name]))
    assert grey_levels_apart(checkpoint, transform) == {}


@pytest.mark.parametrize("name", list(HUGGING_FACE)[:8])
def test_pixels_are_those_of_hugging_faces_rule_for_resnets(tmp_path: Path, name: str) -> None:
    checkpoint = load_checkpoint(written(tmp_path, "Hugging Face", HUGGING_FACE[name]))
    assert grey_levels_apart(checkpoint, by_hugging_faces_rule(HUGGING_FACE[name])) == {}


WAYS = [
    ("timm", "test size"),
    ("timm", "squash"),
    ("timm", "bilinear"),
    ("Hugging Face", "resnet-50"),
    ("Hugging Face", "odd"),
    ("Hugging Face", "384"),
]


@pytest.mark.parametrize(
    ("count", "origin", "name"),
    [(100, "timm", "small"), (100, "Hugging Face", "small"),
     *(pytest.param(1000, *way, marks=pytest.mark.slow) for way in WAYS)],
)  # fmt: skip
def test_evaluate_gives_the_answers_of_the_origin(
    tmp_path: Path, origin: str, name: str, count: int
) -> None:
    said = (TIMM if origin == "timm" else HUGGING_FACE)[name]
    transform = by_timm(said) if origin == "timm" else by_hugging_faces_rule(said)
    (tmp_path / "images").mkdir()
    paths = write_images(tmp_path / "images", count)
    first = load_checkpoint(written(tmp_path, origin, said))
    usual = evened(first, reference(first.build(), paths[:100], transform))
    answers = reference(usual.build(), paths, transform).argmax(1)
    assert len(np.unique(answers)) > len(CLASSES) / 2
    theirs = written(tmp_path, origin, said, dict(usual.state_dict))
    labels = np.random.default_rng(1).integers(0, len(CLASSES), count)
    labels[::2] = answers[::2]
    for kind, truth in (("answers", answers), ("labels", labels)):
        rows = [f"images/{p.name},{CLASSES[c]},val" for p, c in zip(paths, truth, strict=True)]
        (tmp_path / f"{kind}.csv").write_text("\n".join(["path,label,split", *rows]))
    same = er.evaluate(theirs, context=TaskContext(data=str(tmp_path / "answers.csv")))
    # Labels that are the origin's answers: each one that is another counts as wrong.
    assert (same["n"], same["top1"]) == (count, 1.0)
    if count < 1000:
        return  # Of the same answers top-1 is the same, whatever the labels: seen on 1,000.
    right = er.evaluate(theirs, context=TaskContext(data=str(tmp_path / "labels.csv")))
    assert right["top1"] == (answers == labels).mean()
    print(f"{origin} {name}: top-1 {right['top1']:.4f}, the origin's own on {count} images")
