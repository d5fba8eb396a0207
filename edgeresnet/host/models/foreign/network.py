"""A foreign checkpoint's network: which it is, its tensors, and what the file says of its use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeresnet.device.data.class_names import SORTED_CLASSES
from edgeresnet.device.data.preprocess import resized_to
from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.defaults import default_inputs
from edgeresnet.host.models.foreign.facts import Facts, read_facts
from edgeresnet.host.models.foreign.file_names import caffe_in_name, check_file_name
from edgeresnet.host.models.foreign.program_facts import stem_of_program
from edgeresnet.host.models.foreign.state_dict import Identity, identify
from edgeresnet.host.models.foreign.torchvision import default_image_size
from edgeresnet.host.models.foreign.wrappers import Found, find_network
from edgeresnet.host.models.headless import classes_among
from edgeresnet.host.models.resnet import arch_of, check_has_choice
from edgeresnet.settings.faults import SettingsError
from edgeresnet.settings.inputs import IMAGENET_MEAN, IMAGENET_STD, InputChanges, InputSpec
from edgeresnet.settings.network import (
    NOTHING_TOLD,
    USUAL_STRIDE,
    NetworkTold,
    StrideIn,
    stem_shape,
)

STRIDE_WORDS = {
    "3x3": "stride in the 3x3 convolutions",
    "1x1": "stride in the first 1x1 convolutions",
}
NO_CLASSES = "no classifier: it gives embeddings"
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


def retold_inputs(
    before: InputSpec,
    provenance: dict[str, Any],
    image_size: int | None,
    inputs: InputChanges,
) -> tuple[InputSpec, dict[str, Any]]:
    """What is told of a known network's input, in the line on what was assumed too.

    Args:
        before: its own input.
        provenance: of its checkpoint.
        image_size: told; None: its own.
        inputs: told.
    """
    spec = inputs.over(before if image_size is None else before.of_size(image_size))
    if assumed := provenance.get("assumed"):
        said = assumed.replace(input_words(before), input_words(spec))
        provenance = {**provenance, "assumed": said}
    return spec, provenance


def network_words(
    arch: str, stem: str, stride_in: str, weights: str, spec: InputSpec, classes: str
) -> str:
    """A network and its input in one line.

    Args:
        arch: its name.
        stem: its name.
        stride_in: which convolution of a bottleneck has the stride.
        weights: which were taken, for people.
        spec: how an image becomes the input.
        classes: by what they are known, for people.
    """
    strides = [STRIDE_WORDS[stride_in]] if arch_of(arch).bottleneck else []
    return ", ".join([
        arch,
        stem_shape(stem).words,
        *strides,
        "ReLU without anti-aliasing or dilation",
        weights,
        input_words(spec),
        classes,
    ])  # fmt: skip


@dataclass(frozen=True)
class ForeignNetwork:
    """What was read of a file.

    Attributes:
        identity: the ResNet and its tensors.
        facts: what the file says of classes and images.
        weights: which weights were taken, for people.
        averaged: whether they are a moving average.
        raw_beside: whether the file holds the weights themselves, too.
        stride_in: which convolution of a bottleneck has the stride.
        notes: lines on what was made of the file.
    """

    identity: Identity
    facts: Facts
    weights: str
    averaged: bool
    raw_beside: bool
    stride_in: StrideIn = USUAL_STRIDE
    notes: tuple[str, ...] = ()

    def input_spec(self, image_size: int | None, source: str) -> InputSpec:
        """As the file says, of its own size; where it says none, of what is told.

        Raises:
            InputError: what it says does not go together.
        """
        said = self.facts.inputs
        size = said.get("image_size", image_size or default_image_size(self.identity.stem))
        try:
            return InputSpec(**{**said, "image_size": size})
        except SettingsError as error:
            raise InputError(
                f"{source} says an input that cannot be: {error.cause}",
                "say what is right with --image-size, --resize or --crop-ratio.",
            ) from error

    @property
    def which_weights(self) -> dict[str, bool]:
        """Which were taken, and which there are besides."""
        return {"averaged": self.averaged, "raw_beside": self.raw_beside}

    def assumed(self, spec: InputSpec, *, classes_told: bool) -> str:
        """One line on the network as it was taken, assumptions included."""
        identity = self.identity
        classes = SORTED_CLASSES if classes_among(identity.tensors) else NO_CLASSES
        if classes_told or self.facts.classes is not None:
            said = "" if classes_told else f", as {self.facts.classes_from} lists them"
            classes = f"classes by name{said}"
        return network_words(
            identity.arch, identity.stem, self.stride_in, self.weights, spec, classes
        )


def read_network(
    content: Mapping[str, Any],
    source: str,
    path: Path | None,
    *,
    raw: bool = False,
    told: Mapping[str, Any] | None = None,
    network: NetworkTold = NOTHING_TOLD,
) -> ForeignNetwork:
    """Find and check the network in what was read of a file.

    Args:
        content: of the file.
        source: its name, for messages.
        path: where it is; None for what is no file.
        raw: the weights themselves where their moving average is beside them.
        told: of the input by the user, by the names of `InputSpec`, whatever the file says.
        network: told of its geometry, likewise.

    Raises:
        InputError: no ResNet, one with something that would be lost, or not what is told of it.
    """
    named = [] if path is None else check_file_name(path)
    found = find_network(content, source, raw=raw)
    stem = network.stem or stem_of_program(content, found.tensors)
    identity = identify(found, source, stem)
    outputs = classes_among(identity.tensors)
    stride_told = network.stride_in is not None
    facts = read_facts(content, path, outputs, source, told or {}, stride_told=stride_told)
    stride_in, strides = USUAL_STRIDE, list[str]()
    if arch_of(identity.arch).bottleneck:
        stride_in, strides = _stride(network.stride_in, facts, identity, found, path, source)
    elif stride_told:
        check_has_choice(arch_of(identity.arch))
    usual, of_usual = default_inputs(found.origin, facts.inputs, told or {})
    facts = replace(facts, inputs={**usual, **facts.inputs})
    notes = (*named, *identity.notes, *facts.notes, *of_usual, *strides)
    averaged, beside = found.averaged, found.raw_beside
    return ForeignNetwork(identity, facts, found.weights, averaged, beside, stride_in, notes)


def _stride(
    told: StrideIn | None,
    facts: Facts,
    identity: Identity,
    found: Found,
    path: Path | None,
    source: str,
) -> tuple[StrideIn, list[str]]:
    """Which convolution of its bottlenecks has the stride, and lines on how that is known.

    Raises:
        InputError: the file's name says something that nothing else does.
    """
    if told is not None:
        return told, []
    if facts.stride_in is not None:
        stride, where = facts.stride_in
        return stride, [f"stride in the {stride} as {where} says"]
    if (usual := found.origin.stride_in) is not None:
        return usual, [
            f"stride in the {usual} as {found.origin.defaults_of} have it, for nothing says it "
            f"here: if it is elsewhere, give --stride-in {'3x3' if usual == '1x1' else '1x1'}"
        ]
    if path is not None and (word := caffe_in_name(path)) is not None:
        raise InputError(
            f"{source} has {word} in its name, whose ResNets have their stride in the first 1x1 "
            "convolutions and torchvision's in the 3x3: no tensor shows which this has",
            "give --stride-in 1x1, or --stride-in 3x3.",
        )
    if not identity.had_biases:
        return USUAL_STRIDE, []
    return USUAL_STRIDE, [
        "its convolutions have biases, as conversions from caffe and Keras, whose stride is in the "
        "first 1x1: if it is there, give --stride-in 1x1"
    ]
