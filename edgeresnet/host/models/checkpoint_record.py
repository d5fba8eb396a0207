"""What a checkpoint file of ours holds, by one strict schema, and the digest over all of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.device.data.class_names import made_up
from edgeresnet.errors import InputError
from edgeresnet.files.writing import atomic, writing
from edgeresnet.host.models.weights import digest_of
from edgeresnet.untrusted import checked, short

FORMAT = "edgeresnet-checkpoint"
# 1 where the input is told by size, mean and std, and stem and strides are those of the first
# versions, which read it. 2 where the input is told otherwise, 3 where the network is, 4 where the
# centre of an image is another than theirs, 5 where layers of a quantized network stay float, 6
# where there is no classifier.
VERSIONS = (1, 2, 3, 4, 5, 6)
HEADLESS = 6
# No version: files without it are read, and older readers leave it alone.
DIGEST = "edgeresnet_sha256"
_TENSORS = "state_dict"

_Number = Annotated[float, Field(allow_inf_nan=False)]
_NO_WIDTHS: Mapping[str, Any] = {"streams": [], "inner": []}
_Width = Annotated[int, Field(ge=1, le=1 << 20)]


# Whoever looks it up names it in a message.
_Word = Annotated[str, Field(pattern=r"^[\w-]{1,40}$")]


class _Widths(TypedDict):
    stem: _Width
    streams: list[_Width]
    inner: list[list[list[_Width]]]


class _InputSpec(TypedDict):
    image_size: int
    mean: list[_Number]
    std: list[_Number]
    resize: NotRequired[int | str | None]
    crop_ratio: NotRequired[_Number | None]
    interpolation: NotRequired[str]
    channels: NotRequired[str]
    crop_rounding: NotRequired[str]


class _Pruning(TypedDict):
    criterion: str | None
    macs_before: Annotated[int, Field(ge=1)]
    macs_after: int
    widths_before: _Widths
    widths_after: _Widths


class _Quantization(TypedDict):
    weight_bits: NotRequired[Literal[4, 5, 6, 7, 8]]


class _Provenance(TypedDict):
    """What is read of it again; the rest is for people."""

    source: NotRequired[str]
    assumed: NotRequired[str | None]
    notes: NotRequired[list[str]]
    pruning: NotRequired[_Pruning | None]


class _Record(TypedDict):
    arch: _Word
    stem: _Word
    widths: _Widths
    classes: list[str]
    input_spec: _InputSpec
    precision: Literal["fp32", "int8"]
    quantization: _Quantization | None
    data: str | None
    provenance: _Provenance
    state_dict: dict[Any, Any]
    stride_in: NotRequired[_Word]
    classes_known: NotRequired[bool]
    data_fingerprint: NotRequired[str | None]
    float_layers: NotRequired[list[str]]
    edgeresnet_sha256: NotRequired[str]


def is_own(content: Mapping[str, Any]) -> bool:
    """Whether what was read of a file calls itself one of ours."""
    told = content.get("format")
    return DIGEST in content or (isinstance(told, str) and told == FORMAT)


def check_record(content: Mapping[str, Any], source: str) -> None:
    """Refuse what no version has written, or what has changed since.

    Raises:
        InputError: of another version, not by the schema, or not of its digest.
    """
    version = content.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise InputError(
            f"{source} has checkpoint version {short(version)}; this edgeresnet reads "
            f"versions up to {VERSIONS[-1]}",
            "use the edgeresnet that wrote it, or a newer one.",
        )
    if content.get("format") != FORMAT:
        raise InputError(
            f"{source} is damaged: its format is {short(content.get('format'))}", "copy it again."
        )
    try:
        checked(_listed(content), _Record)
        if len(set(content["classes"])) < len(content["classes"]):
            raise ValueError("classes: a name stands there twice")
        if bool(content["classes"]) == (version == HEADLESS):
            raise ValueError(f"classes: none are in version {HEADLESS}, and in that alone")
        _check_pruning(content["provenance"].get("pruning"))
    except ValueError as error:
        raise InputError(
            f"{source} is not a complete checkpoint: {error}", "make it again."
        ) from error


def _check_pruning(pruning: Mapping[str, Any] | None) -> None:
    """The widths before and after are shown beside each other."""
    before, after = (
        (len(w["streams"]), [len(blocks) for blocks in w["inner"]])
        for w in ((pruning or {}).get(f"widths_{when}", _NO_WIDTHS) for when in ("before", "after"))
    )
    if before != after or before[0] != len(before[1]):
        raise ValueError("its widths before and after pruning are of other levels")


def check_digest(content: Mapping[str, Any], source: str) -> None:
    """Refuse a file that is not what was written.

    Args:
        content: whose tensors are checked already.
        source: the file's name, for messages.

    Raises:
        InputError: a weight, or what stands beside the weights, is another.
    """
    if (told := content.get(DIGEST)) is not None and told != record_digest(content):
        raise InputError(
            f"{source} is damaged: its weights or settings are not those that were saved (their "
            "SHA-256 differs)",
            "copy the file again, or make it again.",
        )


def check_float_layers(layers: Sequence[str], tensors: Collection[str], source: str) -> None:
    """Refuse layers that stay float and are none of a quantized network with these tensors.

    Raises:
        InputError: names the first.
    """
    for layer in layers:
        if f"{layer}.weight_quant.scale" not in tensors:
            raise InputError(
                f"{source} is not a complete checkpoint: {short(layer)} stays float, and is no "
                "layer of its quantized network",
                "make it again.",
            )


def names_made_up(content: Mapping[str, Any]) -> bool:
    """Whether an older file's names are numbers that stand for a foreign one's; data gives own."""
    foreign = "source" in content["provenance"] and content["data"] is None
    return foreign and made_up(content["classes"])


def record_digest(content: Mapping[str, Any]) -> str:
    """Over all of a file but the digest itself; 64 hex digits."""
    rest = {key: value for key, value in content.items() if key not in (_TENSORS, DIGEST)}
    try:
        words = json.dumps(rest, sort_keys=True, default=str)
    except (TypeError, ValueError):
        return ""  # nobody writes such keys
    return digest_of(content[_TENSORS], words.encode())


def _listed(value: Any) -> Any:
    """Older versions wrote a tuple here and there; tensors are nobody's value beside them."""
    if isinstance(value, Mapping):
        return {key: one if key == _TENSORS else _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """``torch.save``, whole or not at all; the folder is made."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial, partial.open("wb") as file:
            # Given a path, torch tells of a full disk as of a fault of its own.
            torch.save(content, file)
