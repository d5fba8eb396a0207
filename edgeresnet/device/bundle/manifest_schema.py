"""What may stand in a `manifest.json`, which a stranger may have written: types, limits, names."""

from __future__ import annotations

import unicodedata
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.settings.export import FeatureName
from edgeresnet.settings.inputs import LARGEST_IMAGE, LARGEST_RESIZE, SMALLEST_IMAGE
from edgeresnet.untrusted import short

# Far more than any network for images has; what is computed from them fits the memory of a machine.
LARGEST_BATCH, LARGEST_COUNT = 65_536, 1 << 53
MOST_FILES = 1000
# Of an output, for one image.
MOST_VALUES = 1 << 26
# Of how far the logits of a golden check may be away, as a share of the golden logits' range: ten
# times what an export allows, which goes by the range on more images.
LARGEST_SHARES = {"fp32": 0.02, "fp16": 0.2, "bf16": 0.4}
LARGEST_SHARE_OF_INTEGERS = 0.5


def _printable(word: str) -> str:
    if not word.isprintable():
        raise ValueError("has characters that cannot be printed")
    return word


Word = Annotated[str, Field(max_length=100), AfterValidator(_printable)]
# Of a whole model, as exports and bare files have it; another would be run as who knows what.
Precision = Annotated[str, Field(pattern=r"^(fp16|fp32|fp64|bf16|w8a16|int8(\+(fp16|bf16))?)$")]
# Names of classes and layers, paths, sentences.
Text = Annotated[str, Field(max_length=4096)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
BatchSize = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
Deviation = Annotated[float, Field(ge=1e-9, le=1e9)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def fault_of_name(name: str) -> str | None:
    """Why no file of a bundle can have that name, on this system or another; None if it can."""
    windows = PureWindowsPath(name)
    if "\\" in name or windows.drive or windows.root or PurePosixPath(name).is_absolute():
        return "it is no name relative to the bundle, with / between folders"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "it has an empty part, or leads out of a folder"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    return None


def _all_fit(files: dict[str, str]) -> dict[str, str]:
    """Refuse names that are no bundle's, or the same where letters' case does not count."""
    seen: dict[str, str] = {}
    for name in files:
        if (fault := fault_of_name(name)) is not None:
            raise ValueError(f"file {short(name)}: {fault}")
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise ValueError(f"files {short(seen[folded])} and {short(name)} are one name")
        seen[folded] = name
    return files


def _fits(spec: InputRecord) -> InputRecord:
    if spec["image_size"] > spec.get("crop_ratio", 1.0) * LARGEST_RESIZE:
        raise ValueError(f"crop_ratio makes images larger than {LARGEST_RESIZE} px")
    return spec


def _in_order(batch: BatchRecord) -> BatchRecord:
    if not batch["smallest"] <= batch["best"] <= batch["largest"]:
        raise ValueError("smallest, best and largest do not rise")
    return batch


def _alike(pruning: PruningRecord) -> PruningRecord:
    before, after = pruning["widths_before"], pruning["widths_after"]
    if [len(level) for level in before["inner"]] != [len(level) for level in after["inner"]]:
        raise ValueError("widths_before and widths_after have other blocks")
    return pruning


class BatchRecord(TypedDict):
    """`edgeresnet.settings.export.BatchRange`."""

    smallest: BatchSize
    best: BatchSize
    largest: BatchSize


class InputRecord(TypedDict):
    """`edgeresnet.settings.inputs.InputSpec`, which looks at the rest."""

    image_size: Annotated[int, Field(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)]
    mean: Annotated[list[Mean], Field(min_length=3, max_length=3)]
    std: Annotated[list[Deviation], Field(min_length=3, max_length=3)]
    resize: NotRequired[Annotated[int, Field(ge=1, le=LARGEST_RESIZE)] | Literal["squash"]]
    crop_ratio: NotRequired[Share]
    interpolation: NotRequired[Word]
    channels: NotRequired[Word]
    crop_rounding: NotRequired[Word]


class LayerRecord(TypedDict):
    """A layer; null is what nobody could tell of an adopted one."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: Text
    op: Word
    out_channels: Count | None
    macs: Count | None
    parameters: NotRequired[Count | None]
    precision: NotRequired[Word | None]


class WidthsRecord(TypedDict):
    """`edgeresnet.host.models.resnet.Widths`."""

    stem: Count
    streams: Annotated[list[Count], Field(min_length=4, max_length=4)]
    inner: Annotated[list[list[list[Count]]], Field(min_length=4, max_length=4)]


class PruningRecord(TypedDict):
    """Of what pruning tells, what is shown."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    criterion: Word
    macs_before: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    macs_after: Count
    widths_before: WidthsRecord
    widths_after: WidthsRecord


class ProvenanceRecord(TypedDict):
    """Of what is told of the origin, what is shown."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    pruning: NotRequired[Annotated[PruningRecord, AfterValidator(_alike)] | None]
    assumed: NotRequired[Text | None]
    notes: NotRequired[list[Text]]


class DetectionRecord(TypedDict):
    """How many damaged networks the golden images tell from the right one."""

    mutants: Count
    caught: Count
    caught_there: Count


class SaturationRecord(TypedDict):
    """Which weights have 7 bits, whether all that need them do, and what that costs."""

    safe: bool
    narrowed: list[Text]
    images: NotRequired[Count]
    agreement: NotRequired[Share]
    top1_change: NotRequired[Annotated[float, Field(ge=-1, le=1)] | None]


def _is_output(one: OutputRecord) -> OutputRecord:
    level = one["name"].startswith("C")
    if len(one["shape"]) != (3 if level else 1):
        raise ValueError(f"{one['name']} has {len(one['shape'])} sides")
    if prod(one["shape"]) > MOST_VALUES:
        raise ValueError(f"{one['name']} has more than {MOST_VALUES} values")
    return one


def _each_once(outputs: list[OutputRecord]) -> list[OutputRecord]:
    names = [one["name"] for one in outputs]
    if len(set(names)) != len(names):
        raise ValueError("an output is told twice")
    return outputs


class OutputRecord(TypedDict):
    """`edgeresnet.device.targets.outputs.Output`."""

    name: Literal["logits"] | FeatureName
    shape: Annotated[list[Side], Field(min_length=1, max_length=3)]
    stride: NotRequired[Annotated[int, Field(ge=1, le=LARGEST_IMAGE)] | None]


class ManifestRecord(TypedDict):
    """`edgeresnet.device.bundle.manifest.Manifest`, whose docstring says what each key means.

    What older versions did not write is not required.
    """

    format_version: int
    target: Word
    precision: Precision
    arch: Word
    stem: Word
    classes: list[Text]
    input_spec: Annotated[InputRecord, AfterValidator(_fits)]
    embed_preprocess: bool
    batch: Annotated[BatchRecord, AfterValidator(_in_order)]
    model: Text
    parameters: Count
    macs: Count
    golden_tolerance: Share
    data: Text | None
    proof: dict[str, Any]
    provenance: ProvenanceRecord
    widths: dict[str, Any]
    layers: list[LayerRecord]
    files: Annotated[dict[Text, Hash], Field(max_length=MOST_FILES), AfterValidator(_all_fit)]
    logit_bound: NotRequired[Annotated[float, Field(allow_inf_nan=False, ge=0)] | None]
    data_fingerprint: NotRequired[Text | None]
    classes_known: NotRequired[bool]
    stride_in: NotRequired[Literal["3x3", "1x1"]]
    channels_last: NotRequired[bool | None]
    answers: NotRequired[Literal["logits", "probabilities"]]
    golden_from: NotRequired[Text | None]
    golden_detection: NotRequired[DetectionRecord | None]
    saturation: NotRequired[SaturationRecord | None]
    outputs: NotRequired[
        Annotated[
            list[Annotated[OutputRecord, AfterValidator(_is_output)]],
            Field(min_length=1, max_length=6),
            AfterValidator(_each_once),
        ]
    ]


def largest_share(precision: str) -> float:
    """How far golden logits may be away at most, as a share of their range, [0, 1]."""
    return LARGEST_SHARES.get(precision, LARGEST_SHARE_OF_INTEGERS)
