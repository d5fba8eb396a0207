"""The host's file: architecture, widths, class names, input spec and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgeresnet.device.machine.privacy import name_of
from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home
from edgeresnet.host.models.checkpoint_record import (
    DIGEST,
    FORMAT,
    HEADLESS,
    check_digest,
    check_float_layers,
    check_record,
    is_own,
    names_made_up,
    record_digest,
    save_atomically,
)
from edgeresnet.host.models.foreign.network import read_network, retold_inputs
from edgeresnet.host.models.foreign.reading import read_tensors
from edgeresnet.host.models.foreign.torchvision import fetch_torchvision, published_inputs
from edgeresnet.host.models.headless import classes_among, leave_head_out
from edgeresnet.host.models.level_backbone import LevelBackbone
from edgeresnet.host.models.level_outputs import LEVEL_NAMES
from edgeresnet.host.models.resnet import Widths, build_resnet, check_stride, undrawn_resnet
from edgeresnet.host.models.shapes import shapes_of
from edgeresnet.host.models.told_network import check_told
from edgeresnet.host.models.trained_levels import trained_levels
from edgeresnet.host.models.weights import check_tensors
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.faults import SettingsError
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges, InputSpec
from edgeresnet.settings.network import FIRST_STEMS, NOTHING_TOLD, USUAL_STRIDE, NetworkTold


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and all that is needed to use it.

    Attributes:
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        stem: a name in `edgeresnet.settings.network.STEMS`.
        widths: channels of every tensor.
        classes: class names, in the order of the logits; none of a network without a classifier.
        input_spec: how an image becomes the input.
        state_dict: torchvision's names; with ``precision`` int8 those of
            `edgeresnet.host.models.quant_resnet.QuantResNet`.
        precision: ``fp32``, or ``int8`` for a fake-quantized network.
        quantization: how it was quantized.
        data: the DATA SPEC it was trained on, with a path from the root.
        data_fingerprint: by what that folder is known again; None: by nothing.
        provenance: versions, seeds, settings, results; of a foreign checkpoint ``source``,
            ``assumed`` (one line), ``notes``, ``averaged`` and ``raw_beside`` (which weights).
        classes_known: whether somebody gave the class names; False: "0", "1", … stand in for them.
        stride_in: which convolution of a bottleneck has the stride: ``3x3``, or the first ``1x1``.
        float_layers: with ``precision`` int8, the layers that compute in float all the same; see
            `edgeresnet.host.models.float_layers`.
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
    stride_in: str = USUAL_STRIDE
    float_layers: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """Of the file: the lowest whose readers take the network for what it is."""
        if not self.classes:
            return HEADLESS
        if self.float_layers:
            return 5
        if self.input_spec.crop_rounding == "down":
            return 4
        if self.stem not in FIRST_STEMS or self.stride_in != USUAL_STRIDE:
            return 3
        return 1 if self.input_spec.plain else 2

    def build(self) -> nn.Module:
        """With its weights, in eval mode: (N, 3, H, W) to (N, classes or channels) float32."""
        model = self._network(undrawn_resnet)
        model.load_state_dict(self.state_dict)
        return model.eval()

    def backbone(self, levels: Sequence[str] = tuple(LEVEL_NAMES)) -> LevelBackbone:
        """The network without its head, in eval mode, for torchvision's detectors."""
        return LevelBackbone(self.build(), self.widths.streams, levels)

    def with_backbone(self, trained: nn.Module) -> Checkpoint:
        """A network without a classifier, of what a detector has made of the levels."""
        # Nobody has said what the detector has learned from.
        of_classes = {"classes": (), "classes_known": False, "data": None, "data_fingerprint": None}
        kept = {key: self.provenance[key] for key in ("pruning",) if key in self.provenance}
        tensors = trained_levels(trained, self.state_dict, self.precision)
        return replace(self, state_dict=tensors, provenance=kept, **cast(Any, of_classes))

    def outline(self) -> nn.Module:
        """The network without memory, on torch's meta device: it has shapes, and computes none."""
        with torch.device("meta"):
            return self._network().eval()

    def _network(self, make: Callable[..., nn.Module] = build_resnet) -> nn.Module:
        model: nn.Module = make(
            self.arch, len(self.classes) or 1, self.stem, self.widths, self.stride_in
        )
        if not self.classes:
            leave_head_out(cast(Any, model))
        if self.precision == "int8":
            from edgeresnet.host.models.quant_resnet import QuantResNet

            bits = (self.quantization or {}).get("weight_bits", 7)
            model = QuantResNet(cast(Any, model), weight_bits=bits, float_layers=self.float_layers)
        return model


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all, with a digest of all that is in it.

    ``torch.load(weights_only=True)`` reads it.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": checkpoint.version,
        "arch": checkpoint.arch,
        "stem": checkpoint.stem,
        "stride_in": checkpoint.stride_in,
        "widths": checkpoint.widths.to_dict(),
        "classes": list(checkpoint.classes),
        "classes_known": checkpoint.classes_known,
        "input_spec": checkpoint.input_spec.to_dict(),
        "precision": checkpoint.precision,
        "quantization": checkpoint.quantization,
        "data": checkpoint.data,
        "data_fingerprint": checkpoint.data_fingerprint,
        "provenance": checkpoint.provenance,
        **({"float_layers": list(checkpoint.float_layers)} if checkpoint.float_layers else {}),
        "state_dict": {k: v.detach().cpu().contiguous() for k, v in checkpoint.state_dict.items()},
    }
    save_atomically({**content, DIGEST: record_digest(content)}, path)


def load_checkpoint(
    source: str | Path,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    classes: Sequence[str] | None = None,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
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
        network: what is told of a foreign file's stem and strides; of what knows its own, the same.
        on_step: told what was assumed of a foreign file, and what was left out of it.

    Raises:
        InputError: not there, damaged, carries code, not one of our architectures, or not the
            network that is told.
    """
    told = _Told(image_size, inputs, classes, raw, network)
    text = str(source)
    if text.startswith("torchvision:"):
        content, names = fetch_torchvision(text, arch)
        published = published_inputs(text, arch)
        # Published weights know their network.
        named = replace(told, classes=classes or names, network=NOTHING_TOLD)
        taken = _read_foreign(content, text, None, named, on_step, published)
        return _checked(taken, network, text)
    path = from_home(text)
    content = read_tensors(path)
    if not is_own(content):
        return _read_foreign(content, text, path, told, on_step)
    if raw:
        raise InputError(
            f"{text} is a checkpoint of edgeresnet, which holds one set of weights",
            "leave out --raw.",
        )
    own = _checked(_read_own(content, text), network, text)
    spec, said = retold_inputs(own.input_spec, own.provenance, image_size, inputs)
    return replace(own, input_spec=spec, provenance=said)


@dataclass(frozen=True)
class _Told:
    """What a user tells of a foreign file; see `load_checkpoint`."""

    image_size: int | None
    inputs: InputChanges
    classes: Sequence[str] | None
    raw: bool
    network: NetworkTold


def _checked(checkpoint: Checkpoint, told: NetworkTold, source: str) -> Checkpoint:
    own = {name: getattr(checkpoint, name) for name in vars(told)}
    check_told(checkpoint.arch, NetworkTold(**own), told, source)
    return checkpoint


def _read_foreign(
    content: Mapping[str, Any],
    source: str,
    path: Path | None,
    told: _Told,
    on_step: OnStep,
    published: InputSpec | None = None,
) -> Checkpoint:
    image_size, classes = told.image_size, told.classes
    given = {**told.inputs.given, **({} if image_size is None else {"image_size": image_size})}
    network = read_network(content, source, path, raw=told.raw, told=given, network=told.network)
    identity, facts = network.identity, network.facts
    count = classes_among(identity.tensors)
    names = facts.classes if classes is None else tuple(classes)
    if names is not None and len(names) != count:
        raise InputError(
            f"{source} has {count} classes, but {len(names)} names were given",
            "give the --data that the checkpoint was trained on.",
        )
    spec = published or network.input_spec(image_size, source)
    spec = told.inputs.over(spec.of_size(image_size) if image_size else spec)
    assumed = network.assumed(spec, classes_told=classes is not None)
    for line in (assumed, *network.notes):
        on_step(f"{source}: {line}")
    notes = [f"{name_of(source)}: {note}" for note in network.notes]
    return Checkpoint(
        identity.arch,
        identity.stem,
        identity.widths,
        names or tuple(map(str, range(count))),
        spec,
        identity.tensors,
        provenance={"source": source, "assumed": assumed, "notes": notes, **network.which_weights},
        classes_known=names is not None,
        stride_in=network.stride_in,
    )


def _read_own(content: dict[str, Any], source: str) -> Checkpoint:
    """One of ours, whose every tensor is the one that its network has and that was saved.

    Raises:
        InputError: it is none that a version has written, or is damaged.
    """
    check_record(content, source)
    try:
        spec = InputSpec.from_dict(content["input_spec"])
    except SettingsError as error:
        raise InputError(
            f"{source} is not a complete checkpoint: {error.cause}", "make it again."
        ) from error
    own = Checkpoint(
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
        content.get("classes_known", not names_made_up(content)),
        content.get("stride_in", USUAL_STRIDE),
        tuple(content.get("float_layers", ())),
    )
    check_stride(own.arch, own.stride_in)
    shapes = shapes_of(own.arch, own.stem, own.widths, len(own.classes), own.precision)
    check_float_layers(own.float_layers, shapes, source)
    check_tensors(own.state_dict, shapes, source)
    check_digest(content, source)
    return own
