"""A foreign checkpoint's network: which it is, its tensors, and what the file says of its use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeresnet.device.data.preprocess import resized_to
from edgeresnet.host.models.foreign.facts import Facts, read_facts
from edgeresnet.host.models.foreign.state_dict import Identity, identify
from edgeresnet.host.models.foreign.wrappers import find_network
from edgeresnet.host.models.resnet import arch_of
from edgeresnet.settings.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec

# What no tensor shows: with other strides and without a pool the same names have the same shapes.
STEM_WORDS = {
    "imagenet": "7x7 stem of stride 2 with max-pool",
    "small": "3x3 stem of stride 1 without max-pool",
}


CHANNEL_WORDS = {"rgb": "RGB", "bgr": "BGR", "gray": "grey in three channels"}


def input_words(spec: InputSpec) -> str:
    """How an image becomes the input, whoever said so."""
    size = f"{spec.image_size} px"
    # What an image twice as high as wide becomes shows what is done with any.
    width, height = resized_to(spec, 1, 2)
    if width != height:
        made = f"{size} cut out of a shorter side of {width} px"
    elif width != spec.image_size:
        made = f"{size} cut out of the whole image as {width} x {width} px"
    else:
        made = f"the whole image as {width} x {width} px"
    usual = (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)
    mean, std = ("/".join(f"{v:.6g}" for v in values) for values in (spec.mean, spec.std))
    return ", ".join([
        CHANNEL_WORDS[spec.channels],
        f"{made} ({spec.interpolation})",
        "ImageNet's mean and std" if usual else f"mean {mean} and std {std}",
    ])  # fmt: skip


@dataclass(frozen=True)
class ForeignNetwork:
    """What was read of a file.

    Attributes:
        identity: the ResNet and its tensors.
        facts: what the file says of classes and images.
        weights: which weights were taken, for people.
    """

    identity: Identity
    facts: Facts
    weights: str

    def assumed(self, spec: InputSpec, *, classes_known: bool) -> str:
        """One line on the network as it was taken, assumptions included."""
        identity = self.identity
        strides = ["stride in the 3x3 convolutions"] if arch_of(identity.arch).bottleneck else []
        return ", ".join([
            identity.arch,
            STEM_WORDS[identity.stem],
            *strides,
            "ReLU without anti-aliasing or dilation",
            self.weights,
            input_words(spec),
            "classes by name" if classes_known else "classes by sorted folder name",
        ])  # fmt: skip


def read_network(
    content: Mapping[str, Any],
    source: str,
    path: Path | None,
    *,
    raw: bool = False,
    image_size: int | None = None,
) -> ForeignNetwork:
    """Find and check the network in what was read of a file.

    Args:
        content: of the file.
        source: its name, for messages.
        path: where it is; None for what is no file.
        raw: the weights themselves where their moving average is beside them.
        image_size: told by the user, whatever the file says.

    Raises:
        InputError: no ResNet, or one with something that would be lost.
    """
    found = find_network(content, source, raw=raw)
    identity = identify(found, source)
    outputs = int(identity.tensors["fc.weight"].shape[0])
    facts = read_facts(content, path, outputs, source, image_size)
    return ForeignNetwork(identity, facts, found.weights)
