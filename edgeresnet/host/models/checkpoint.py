"""The host's file: architecture, widths, class names, input spec and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgeresnet.device.data.class_names import made_up
from edgeresnet.errors import InputError
from edgeresnet.files import atomic, from_home
from edgeresnet.host.models.foreign.facts import Facts
from edgeresnet.host.models.foreign.network import input_words, read_network
from edgeresnet.host.models.foreign.reading import read_tensors
from edgeresnet.host.models.foreign.torchvision import (
    default_image_size,
    fetch_torchvision,
    published_inputs,
)
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges, InputSpec

FORMAT = "edgeresnet-checkpoint"
# 1 where the input is told by size, mean and std: what older versions read. 2 where it is not.
VERSIONS = (1, 2)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and all that is needed to use it.

    Attributes:
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        stem: ``imagenet`` or ``small``.
        widths: channels of every tensor.
        classes: class names, in the order of the logits.
        input_spec: how an image becomes the input.
        state_dict: torchvision's names; with ``precision`` int8 those of
            `edgeresnet.host.models.quant_resnet.QuantResNet`.
        precision: ``fp32``, or ``int8`` for a fake-quantized network.
        quantization: how it was quantized.
        data: the DATA SPEC it was trained on, with a path from the root.
        data_fingerprint: by what that folder is known again; None: by nothing.
        provenance: versions, seeds, settings, results; of a foreign checkpoint ``source``,
            ``assumed`` (one line) and ``notes`` (what was left out, folded or found).
        classes_known: whether somebody gave the class names; False: "0", "1", … stand in for them.
    """

    arch: str
    stem: str
    widths: Widths
    classes: tuple[str, ...]
    input_spec: InputSpec
    state_dict: dict[str, Tensor]
    precision: str = "fp32"
    quantization: dict[str, Any] | None = None
    data: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    data_fingerprint: str | None = None
    classes_known: bool = True

    def build(self) -> nn.Module:
        """The network with its weights, in eval mode: (N, 3, H, W) to (N, classes) float32."""
        model: nn.Module = build_resnet(self.arch, len(self.classes), self.stem, self.widths)
        if self.precision == "int8":
            from edgeresnet.host.models.quant_resnet import QuantResNet

            bits = (self.quantization or {}).get("weight_bits", 7)
            model = QuantResNet(cast(Any, model), weight_bits=bits)
        model.load_state_dict(self.state_dict)
        return model.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all; ``torch.load(weights_only=True)`` reads it."""
    content = {
        "format": FORMAT,
        "version": VERSIONS[0] if checkpoint.input_spec.plain else VERSIONS[1],
        "arch": checkpoint.arch,
        "stem": checkpoint.stem,
        "widths": checkpoint.widths.to_dict(),
        "classes": list(checkpoint.classes),
        "classes_known": checkpoint.classes_known,
        "input_spec": checkpoint.input_spec.to_dict(),
        "precision": checkpoint.precision,
        "quantization": checkpoint.quantization,
        "data": checkpoint.data,
        "data_fingerprint": checkpoint.data_fingerprint,
        "provenance": checkpoint.provenance,
        "state_dict": {k: v.detach().cpu().contiguous() for k, v in checkpoint.state_dict.items()},
    }
    save_atomically(content, path)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """``torch.save``, whole or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        torch.save(content, partial)


def load_checkpoint(
    source: str | Path,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    classes: Sequence[str] | None = None,
    raw: bool = False,
    on_step: OnStep = silent,
) -> Checkpoint:
    """Read a checkpoint of any known origin.

    Args:
        source: a path, or ``torchvision:WEIGHTS`` / ``torchvision:ARCH:WEIGHTS``.
        arch: says which ``torchvision:WEIGHTS`` are meant.
        image_size: for foreign files, which need not say; for our own it overrides.
        inputs: what is told of the preprocessing, over what the file says.
        classes: names for a foreign file's classes; otherwise those that it gives itself, else
            "0", "1", ….
        raw: take the weights themselves where a foreign file has their moving average too.
        on_step: told what was assumed of a foreign file, and what was left out of it.

    Raises:
        InputError: not there, damaged, carries code, or not one of our architectures.
    """
    text = str(source)
    if text.startswith("torchvision:"):
        content, names = fetch_torchvision(text, arch)
        published = published_inputs(text, arch)
        return _read_foreign(
            content, text, None, image_size, inputs, classes or names, raw, on_step, published
        )
    path = from_home(text)
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        return _read_foreign(content, text, path, image_size, inputs, classes, raw, on_step)
    if raw:
        raise InputError(
            f"{text} is a checkpoint of edgeresnet, which holds one set of weights",
            "leave out --raw.",
        )
    return _told(_read_own(content, text), image_size, inputs)


def _read_foreign(
    content: Mapping[str, Any],
    source: str,
    path: Path | None,
    image_size: int | None,
    inputs: InputChanges,
    classes: Sequence[str] | None,
    raw: bool,
    on_step: OnStep,
    published: InputSpec | None = None,
) -> Checkpoint:
    network = read_network(content, source, path, raw=raw, image_size=image_size)
    identity, facts = network.identity, network.facts
    count = int(identity.tensors["fc.weight"].shape[0])
    names = facts.classes if classes is None else tuple(classes)
    if names is not None and len(names) != count:
        raise InputError(
            f"{source} has {count} classes, but {len(names)} names were given",
            "give the --data that the checkpoint was trained on.",
        )
    spec = published or _spec_of(facts, identity.stem)
    spec = inputs.over(spec.of_size(image_size) if image_size else spec)
    assumed = network.assumed(spec, classes_known=names is not None)
    notes = [f"{source}: {note}" for note in (*identity.notes, *facts.notes)]
    for line in (f"{source}: {assumed}", *notes):
        on_step(line)
    return Checkpoint(
        identity.arch,
        identity.stem,
        identity.widths,
        names or tuple(map(str, range(count))),
        spec,
        identity.tensors,
        provenance={"source": source, "assumed": assumed, "notes": notes},
        classes_known=names is not None,
    )


def _spec_of(facts: Facts, stem: str) -> InputSpec:
    usual = InputSpec()
    return InputSpec(
        facts.image_size or default_image_size(stem),
        facts.mean or usual.mean,
        facts.std or usual.std,
    )


def _read_own(content: dict[str, Any], source: str) -> Checkpoint:
    if content.get("version") not in VERSIONS:
        raise InputError(
            f"{source} has checkpoint version {content.get('version')}; this edgeresnet reads "
            f"versions up to {VERSIONS[-1]}",
            "use the edgeresnet that wrote it, or a newer one.",
        )
    try:
        spec = InputSpec.from_dict(content["input_spec"])
        return Checkpoint(
            content["arch"],
            content["stem"],
            Widths.from_dict(content["widths"]),
            tuple(content["classes"]),
            spec,
            content["state_dict"],
            content["precision"],
            content["quantization"],
            content["data"],
            content["provenance"],
            content.get("data_fingerprint"),
            content.get("classes_known", not _made_up(content)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source} is not a complete checkpoint: {error!r}", "make it again."
        ) from error


def _told(checkpoint: Checkpoint, image_size: int | None, inputs: InputChanges) -> Checkpoint:
    """One of our own with what is told of its input, in the line on what was assumed too."""
    before = checkpoint.input_spec
    spec = inputs.over(before if image_size is None else before.of_size(image_size))
    provenance = checkpoint.provenance
    if assumed := provenance.get("assumed"):
        said = assumed.replace(input_words(before), input_words(spec))
        provenance = {**provenance, "assumed": said}
    return replace(checkpoint, input_spec=spec, provenance=provenance)


def _made_up(content: Mapping[str, Any]) -> bool:
    """Whether an older file's names are numbers that stand for a foreign one's; data gives own."""
    foreign = "source" in content["provenance"] and content["data"] is None
    return foreign and made_up(content["classes"])


def load_backbone(model: nn.Module, source: Checkpoint) -> list[str]:
    """Copy the weights of ``source`` into ``model``, but for a classifier of other classes.

    Returns:
        Names of the tensors left at their initialisation.

    Raises:
        InputError: the networks differ in more than the classifier.
    """
    own = model.state_dict()
    fitting = {k: v for k, v in source.state_dict.items() if k in own and own[k].shape == v.shape}
    left = [name for name in own if name not in fitting]
    if any(not name.startswith("fc.") for name in left):
        raise InputError(
            f"weights are of {source.arch} with stem {source.stem}, which is not the network to "
            "train",
            f"give --arch {source.arch} and the same stem, or other --weights.",
        )
    model.load_state_dict(fitting, strict=False)
    return left


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Hex digest of all weights, in their order."""
    digest = hashlib.sha256()
    for tensor in state_dict.values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
