"""Evaluation gives the answers of torchvision's loader and transforms, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import default_loader
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2

import edgeresnet as er
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.foreign.torchvision import published_inputs
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from tests.device.data.test_preprocess import photograph
from tests.host.models.foreign_networks import loaded, narrow, tensors_of

CLASSES = tuple("abcdefghij")
KINDS = (("RGB", "jpg"), ("RGB", "png"), ("L", "jpg"), ("P", "gif"), ("CMYK", "jpg"),
         ("1", "bmp"), ("RGB", "webp"), ("L", "png"), ("RGB", "ppm"), ("P", "png"),
         ("RGB", "tiff"), ("YCbCr", "jpg"))  # fmt: skip
Transform = Callable[[Image.Image], torch.Tensor]
HALF = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def published(name: str) -> tuple[InputSpec, Transform]:
    return published_inputs(f"torchvision:resnet50:{name}", None), (
        ResNet50_Weights[name].transforms()
    )


def told(spec: InputSpec, *steps: Any) -> tuple[InputSpec, Transform]:
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    return spec, v2.Compose([*steps, *last])


BICUBIC = InterpolationMode.BICUBIC
WAYS = {
    "V1": published("IMAGENET1K_V1"),
    "V2": published("IMAGENET1K_V2"),
    "bicubic": told(
        InputSpec(64, resize=73, interpolation="bicubic", **HALF),
        v2.Resize(73, BICUBIC), v2.CenterCrop(64),
    ),
    "squash": told(InputSpec(64, resize="squash", **HALF), v2.Resize((64, 64))),
}  # fmt: skip


def write_images(folder: Path, count: int) -> list[Path]:
    """Images of 40 to 120 px a side, up to three times as long as wide, in every plain mode."""
    generator = np.random.default_rng(15)
    paths = []
    for i in range(count):
        mode, suffix = KINDS[i % len(KINDS)]
        width, height = (int(n) for n in generator.integers(40, 121, 2))
        image = photograph(width, height, seed=i)
        # What tells them apart: brightness, contrast, and one colour more than the others.
        gain = generator.uniform(0.3, 1.4, 3)
        pixels = np.clip(np.asarray(image) * gain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{i}.{suffix}")
        Image.fromarray(pixels).convert(mode).save(paths[-1])
    return paths


def reference(model: torch.nn.Module, paths: list[Path], transform: Transform) -> np.ndarray:
    """Logits of torchvision's own loader and transforms."""
    logits = []
    with torch.inference_mode():
        for start in range(0, len(paths), 50):
            images = [transform(default_loader(str(p))) for p in paths[start : start + 50]]
            logits.append(model(torch.stack(images)).numpy())
    return np.concatenate(logits)


def evened(checkpoint: Checkpoint, logits: np.ndarray) -> Checkpoint:
    """The same network with a classifier that gives every class to some of these images."""
    tensors = dict(checkpoint.state_dict)
    scale = torch.from_numpy(1 / logits.std(0))
    mean = torch.from_numpy(logits.mean(0))
    tensors["fc.weight"] = tensors["fc.weight"] * scale[:, None]
    tensors["fc.bias"] = (tensors["fc.bias"] - mean) * scale
    return replace(checkpoint, state_dict=tensors)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("theirs")
    return loaded(
        folder, tensors_of(narrow(outputs=len(CLASSES), stem="imagenet")), classes=CLASSES
    )


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_evaluate_gives_torchvisions_answers(
    tmp_path: Path, checkpoint: Checkpoint, way: str, count: int
) -> None:
    spec, transform = WAYS[way]
    paths = write_images(tmp_path, count)
    usual = evened(checkpoint, reference(checkpoint.build(), paths[:100], transform))
    logits = reference(usual.build(), paths, transform)
    answers = logits.argmax(1)
    assert len(np.unique(answers)) > len(CLASSES) / 2
    save_checkpoint(replace(usual, input_spec=spec), tmp_path / "model.pt")
    labels = np.random.default_rng(1).integers(0, len(CLASSES), count)
    labels[::2] = answers[::2]
    # Labels that are torchvision's answers: each one that is another counts as wrong.
    for name, truth in (("answers", answers), ("labels", labels)):
        rows = [f"{path.name},{CLASSES[c]},val" for path, c in zip(paths, truth, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label,split", *rows]))
    context = {n: TaskContext(data=str(tmp_path / f"{n}.csv")) for n in ("answers", "labels")}
    same = er.evaluate(tmp_path / "model.pt", context=context["answers"])
    assert (same["n"], same["top1"]) == (count, 1.0)
    if count < 1000:
        return  # Of the same answers top-1 is the same, whatever the labels: seen on 1,000.
    right = er.evaluate(tmp_path / "model.pt", context=context["labels"])
    assert right["top1"] == (answers == labels).mean()
