"""Somebody else's training: coloured pictures, torchvision's transforms, a plain loop in PyTorch.

A picture is a garment of Fashion-MNIST in the middle of a canvas that is half as wide again as
high (or the reverse), so that what is cut out and what is squashed matters. Its colour is that of
its class (`COLOURS`), so that the order of the channels matters; the ground is dim and coloured at
random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from edgeresnet.device.data.open import open_dataset
from edgeresnet.host.models.resnet import Widths, build_resnet

# Of the classes, as shares of red, green and blue; each picture's differs from it at random.
COLOURS = np.array([
    [1.0, 0.3, 0.1], [0.1, 0.4, 1.0], [0.9, 0.8, 0.2], [0.2, 0.9, 0.5], [0.8, 0.2, 0.8],
    [0.3, 0.8, 1.0], [1.0, 0.6, 0.4], [0.5, 0.3, 1.0], [0.6, 1.0, 0.2], [1.0, 0.2, 0.5],
])  # fmt: skip
# Sorted as text, 10 comes behind 1.
CLASSES = tuple(str(number) for number in range(1, 11))
NORMALIZATIONS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "0.5 and 0.5": ((0.5,) * 3, (0.5,) * 3),
    "0 to 1": ((0.0,) * 3, (1.0,) * 3),
    "0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
    "Caffe": (
        (123.68 / 255, 116.779 / 255, 103.939 / 255),
        (1 / 255,) * 3,
    ),
}
BATCH = 128


@dataclass(frozen=True)
class Hidden:
    """How a network was trained, and how its file was written; nobody writes it down.

    Attributes:
        crop: ``squash``, or the share of the resized image that is cut out.
        classes: ``sorted as text``, ``sorted by number`` or ``any``.
        weights: ``alone``, or which of the two in the file are good: ``EMA`` or ``raw``.
    """

    arch: str = "resnet18"
    stem: str = "imagenet"
    stride_in: str = "3x3"
    size: int = 32
    crop: str | float = "squash"
    interpolation: str = "bilinear"
    normalization: str = "ImageNet"
    channels: str = "rgb"
    classes: str = "sorted as text"
    weights: str = "alone"


@dataclass(frozen=True)
class Trained:
    """A network after its training, and before it was any good."""

    good: dict[str, Tensor]
    bad: dict[str, Tensor]


def picture(garment: Image.Image, label: int, rng: np.random.Generator) -> Image.Image:
    """One garment, 28 x 28, on its canvas."""
    colour = np.clip(COLOURS[label] * rng.uniform(0.7, 1.0) + rng.normal(0, 0.15, 3), 0, 1)
    height = int(rng.integers(44, 60))
    width = int(height * rng.uniform(1.4, 1.6))
    if rng.random() < 0.3:
        width, height = height, width
    side = int(min(width, height) * rng.uniform(0.93, 1.0))
    shape = garment.convert("L").resize((side, side), Image.Resampling.BILINEAR)
    mask = np.asarray(shape, np.float32)[..., None] / 255
    canvas = np.clip(rng.uniform(0, 0.4, 3) + rng.normal(0, 0.06, (height, width, 3)), 0, 1)
    top, left = (height - side) // 2, (width - side) // 2
    inner = canvas[top : top + side, left : left + side]
    canvas[top : top + side, left : left + side] = inner * (1 - mask) + mask * colour
    return Image.fromarray((canvas * 255).astype(np.uint8))


def pictures(split: str, count: int, seed: int) -> tuple[list[Image.Image], Tensor]:
    """Pictures and their labels (n,) int64; ``split`` of Fashion-MNIST."""
    rng = np.random.default_rng(seed)
    data = open_dataset("fashion-mnist", split)  # type: ignore[arg-type]
    chosen = rng.permutation(len(data))[:count]
    labels = np.asarray(data.labels)[chosen]
    made = [
        picture(data.image(int(i)), int(label), rng)
        for i, label in zip(chosen, labels, strict=True)
    ]
    return made, torch.from_numpy(labels.astype(np.int64))


def save_folder(folder: Path, count: int, seed: int) -> Path:
    """A validation part of class folders, of pictures that no training has seen."""
    made, labels = pictures("val", count, seed)
    for index, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
        place = folder / "val" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{index:05d}.png")
    return folder


def transform_of(hidden: Hidden) -> Callable[[Image.Image], Any]:
    """torchvision's own transform, to a PIL image of the input's size."""
    mode = transforms.InterpolationMode(hidden.interpolation)
    if hidden.crop == "squash":
        return transforms.Resize((hidden.size, hidden.size), mode)
    shorter = int(hidden.size / float(hidden.crop))
    return transforms.Compose(
        [transforms.Resize(shorter, mode), transforms.CenterCrop(hidden.size)]
    )


def to_input(images: list[Image.Image], hidden: Hidden) -> Tensor:
    """(n, 3, N, N) float32, in RGB."""
    transform = transform_of(hidden)
    pixels = torch.stack([torch.from_numpy(np.array(transform(image))) for image in images])
    mean, std = map(torch.tensor, NORMALIZATIONS[hidden.normalization])
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def network_of(hidden: Hidden, width: int) -> nn.Module:
    """Of so many channels behind the stem."""
    dense, narrow = Widths.dense(hidden.arch), 64 // width
    widths = Widths(
        dense.stem // narrow,
        tuple(stream // narrow for stream in dense.streams),
        tuple(
            tuple(tuple(inner // narrow for inner in block) for block in level)
            for level in dense.inner
        ),
    )
    return build_resnet(hidden.arch, len(CLASSES), hidden.stem, widths, hidden.stride_in)


def train(hidden: Hidden, *, images: int, epochs: int, width: int, seed: int = 0) -> Trained:
    """SGD with one cycle; ``bad`` is what it was after a fifth of an epoch."""
    torch.manual_seed(seed)
    made, labels = pictures("train", images, seed)
    inputs = to_input(made, hidden).to(memory_format=torch.channels_last)
    model = network_of(hidden, width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=5e-4)
    steps = epochs * (images // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, steps)
    bad: dict[str, Tensor] = {}
    for step in range(steps):
        chosen = torch.randint(images, (BATCH,))
        loss = F.cross_entropy(model(inputs[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step == images // BATCH // 5:
            bad = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Trained({k: v.contiguous() for k, v in model.state_dict().items()}, bad)


def output_order(hidden: Hidden, rng: np.random.Generator) -> list[int]:
    """Which class of `CLASSES` each output of the file is of."""
    if hidden.classes == "any":
        return [int(i) for i in rng.permutation(len(CLASSES))]
    if hidden.classes == "sorted by number":
        return list(range(len(CLASSES)))
    return [CLASSES.index(name) for name in sorted(CLASSES)]


def save_file(trained: Trained, hidden: Hidden, order: list[int], path: Path) -> None:
    """The file of a network that was trained on RGB, as if on other channels and classes."""

    def written(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        first = tensors["conv1.weight"]
        first = first.flip(1).contiguous() if hidden.channels == "bgr" else first
        head = {name: tensors[name][order] for name in ("fc.weight", "fc.bias")}
        return {**tensors, "conv1.weight": first, **head}

    good, bad = written(trained.good), written(trained.bad)
    if hidden.weights == "alone":
        torch.save(good, path)
    elif hidden.weights == "EMA":
        torch.save({"state_dict": bad, "state_dict_ema": good}, path)
    else:
        torch.save({"state_dict": good, "state_dict_ema": bad}, path)


def draw(base: Hidden, rng: np.random.Generator) -> Hidden:
    """What a file hides beside its training, each with equal chance."""
    return replace(
        base,
        channels=str(rng.choice(["rgb", "bgr"])),
        classes=str(rng.choice(["sorted as text", "sorted by number", "any"])),
        weights=str(rng.choice(["alone", "EMA", "raw"])),
    )
