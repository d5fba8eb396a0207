"""What a bundle says about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

from edgeresnet.device.bundle.manifest_schema import ManifestRecord, largest_share
from edgeresnet.device.data.class_names import made_up
from edgeresnet.device.machine.privacy import host_and_user, name_of, shareable
from edgeresnet.device.targets.outputs import LOGITS, Output, answer_of
from edgeresnet.errors import InputError
from edgeresnet.settings.export import BatchRange
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.network import USUAL_STRIDE
from edgeresnet.untrusted import checked, parse_json, short

MANIFEST, GOLDEN, SIGNATURE = "manifest.json", "golden.npz", "manifest.json.sig"
# 1 where the input is told by size, mean and std: what older versions read. 2 where it is not, 3
# where the centre of an image is another than theirs, 4 where the model has several outputs.
FORMAT_VERSION = 4
# Architecture and stem of an adopted model.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself; `manifest.json` in the same order.

    Attributes:
        parameters: of the graph, whose normalization is folded into weights and biases.
        golden_tolerance: largest logit difference, as a share of the golden logits' range; what
            counts where there is no ``logit_bound``.
        layers: {name, op, out_channels, macs, parameters, precision} each.
        proof: what the export saw: fused kernels, difference from PyTorch.
        files: sha256 of every other file.
        logit_bound: how far, in logits, rounding may move a logit on any device; None in bundles
            that were written before there was one.
        classes_known: whether somebody gave the class names; False: "0", "1", … stand in for them.
        stride_in: which convolution of a bottleneck has the stride; of bundles from before there
            was a choice: ``3x3``.
        channels_last: of an adopted model, whether its input is (N, H, W, 3); None: only where
            ``embed_preprocess`` is.
        answers: ``logits``, or ``probabilities`` of an adopted model.
        golden_from: whose answers the golden logits are, as
            `edgeresnet.device.bundle.golden_runs.kernels_here` says it; None: PyTorch's, or it is
            not known that they would come again.
        golden_detection: of ``mutants`` damaged networks, each of which changes an answer, how many
            the golden images tell from this one: by the bound that holds on every device
            (``caught``) and where ``golden_from`` is (``caught_there``); None where none was tried.
        saturation: of integer kernels whose 8-bit products some processors cannot add: whether no
            sum can saturate on any (``safe``), which layers have weights of 7 bits for that
            (``narrowed``), and what these cost (``agreement``, ``top1_change``, on so many
            ``images``); None of other kernels, and of bundles that were written before.
        outputs: of the model, in its order, where it gives features; none where it gives logits
            alone. Without logits ``logit_bound`` is None.
    """

    target: str
    precision: str
    arch: str
    stem: str
    classes: tuple[str, ...]
    input_spec: InputSpec
    embed_preprocess: bool
    batch: BatchRange
    model: str
    parameters: int
    macs: int
    golden_tolerance: float
    data: str | None
    proof: dict[str, Any]
    provenance: dict[str, Any]
    widths: dict[str, Any]
    layers: tuple[dict[str, Any], ...]
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = 1
    logit_bound: float | None = None
    data_fingerprint: str | None = None
    classes_known: bool = True
    stride_in: str = USUAL_STRIDE
    channels_last: bool | None = None
    answers: Literal["logits", "probabilities"] = "logits"
    golden_from: str | None = None
    golden_detection: dict[str, int] | None = None
    saturation: dict[str, Any] | None = None
    outputs: tuple[Output, ...] = ()

    def to_json(self) -> str:
        """JSON text, indented so that people can read it."""
        values = {"format_version": self.format_version, **vars(self)}
        if not self.input_spec.plain:
            needed = 3 if self.input_spec.crop_rounding == "down" else 2
            values["format_version"] = max(self.format_version, needed)
        del values["outputs"]
        if self.outputs:
            values["format_version"] = max(values["format_version"], 4)
            values["outputs"] = [one.to_dict() for one in self.outputs]
        values["input_spec"] = self.input_spec.to_dict()
        values["batch"] = vars(self.batch)
        if self.channels_last is None:
            # Said only of what is unlike an export.
            del values["channels_last"], values["answers"]
        for key in ("golden_from", "golden_detection", "saturation"):
            if values[key] is None:
                del values[key]
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def description(self) -> dict[str, Any]:
        """The JSON contract of ``inspect``."""
        keys = (
            "arch", "stem", "stride_in", "parameters", "macs", "target", "precision", "data",
            "proof", "golden_detection", "saturation",
        )  # fmt: skip
        return {
            **{key: getattr(self, key) for key in keys},
            "normalization_folded": True,
            "classes": list(self.classes),
            "image_size": self.input_spec.image_size,
            "widths": self.widths,
            "pruning": self.provenance.get("pruning"),
            "assumed": self.provenance.get("assumed"),
            "notes": self.provenance.get("notes", []),
            "layers": list(self.layers),
            **({"outputs": [one.to_dict() for one in self.outputs]} if self.outputs else {}),
        }

    @property
    def logits(self) -> int:
        """How many logits an image gets; 0 of a bundle that gives features alone."""
        given = not self.outputs or any(one.name == LOGITS for one in self.outputs)
        return len(self.classes) if given else 0

    @property
    def answer_size(self) -> int:
        """How many values a run answers an image with: logits, else an embedding or a level."""
        if self.logits:
            return self.logits
        named = {one.name: one for one in self.outputs}
        return prod(named[answer_of(self.output_names)].shape)

    @property
    def feature_columns(self) -> int:
        """How many values of features are compared for an image."""
        return sum(one.columns for one in self.outputs if one.name != LOGITS)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of all outputs, where it gives features."""
        return tuple(one.name for one in self.outputs)

    @property
    def adopted(self) -> bool:
        """Whether the model file is somebody else's, with their names of its layers."""
        return self.arch == UNKNOWN

    @property
    def safe(self) -> bool | None:
        """Whether no sum of its products can saturate on any processor; None: nobody says."""
        return None if self.saturation is None else bool(self.saturation["safe"])

    def shareable(self, *, record_host: bool) -> Manifest:
        """Without the places of the machine that makes it; or with them, its name and the user's.

        Its data is a name in any case: it is looked for where the bundle is.
        """
        return replace(
            self,
            data=self.data and name_of(self.data),
            provenance={
                **({"made_on": host_and_user()} if record_host else {}),
                **shareable(self.provenance, record_host=record_host),
            },
            proof=shareable(self.proof, record_host=record_host),
        )

    @classmethod
    def from_json(cls, content: bytes | str) -> Manifest:
        """The inverse of `to_json`; ValueError, with the reasons, if it is not one."""
        return cls.from_values(parse_json(content))

    @classmethod
    def from_values(cls, content: object) -> Manifest:
        """As `from_json`, of what was parsed."""
        values: dict[str, Any] = {**checked(content, ManifestRecord)}
        values["classes"] = tuple(values["classes"])
        values["layers"] = tuple(values["layers"])
        try:
            values["input_spec"] = InputSpec.from_dict(values["input_spec"])
        except InputError as error:
            raise ValueError(f"input_spec: {error.cause}") from error
        values["batch"] = BatchRange(**values["batch"])
        values["outputs"] = tuple(
            Output(one["name"], tuple(one["shape"]), one.get("stride"))
            for one in values.get("outputs", ())
        )
        # A bundle of before there was this mark: numbers are names where data has given them.
        given = values["data"] is not None or not made_up(values["classes"])
        values.setdefault("classes_known", given)
        manifest = cls(**values)
        manifest.check()
        return manifest

    def check(self) -> None:
        """ValueError if what it says does not go together."""
        for name in (self.model, GOLDEN):
            if name not in self.files:
                raise ValueError(f"files lacks {short(name)}, so nothing says which one it is")
        if "/" in self.model or self.model in (GOLDEN, MANIFEST, SIGNATURE):
            raise ValueError(f"model: {short(self.model)} can be none")
        for name in (MANIFEST, SIGNATURE):
            if name in map(str.casefold, self.files):
                raise ValueError(f"files: {name} cannot hold a hash of itself")
        if self.outputs and not self.feature_columns:
            raise ValueError("outputs: there is none beside the logits")
        for one in self.outputs:
            if one.name == LOGITS and (one != self.outputs[0] or one.shape != (len(self.classes),)):
                raise ValueError("outputs: logits come first, one for each class")
        if not self.classes and (not self.outputs or self.outputs[0].name == LOGITS):
            raise ValueError("classes: there are none, and the model gives logits")
        if (most := largest_share(self.precision)) < self.golden_tolerance:
            raise ValueError(
                f"golden_tolerance: logits may be {self.golden_tolerance:g} of their range away, "
                f"and of {short(self.precision)} at most {most:g} is explained"
            )
