"""The input that a file, or the file beside it, says: one value a setting, with notes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.input_claims import UNUSED, Claim, claims_of
from edgeresnet.host.models.foreign.normalization import FIELD, normalization_claims
from edgeresnet.host.models.foreign.preprocessor import processor_claims, split_processors
from edgeresnet.host.models.foreign.said import Said
from edgeresnet.settings.inputs import SQUASH

# Sections on how the images of a training were changed.
_OF_TRAINING = re.compile(r"(?i)(^|[._ ])(train|aug)")
# What a message calls each, and the options that go over it.
_FIELDS = {
    "image_size": ("size", "--image-size N"),
    FIELD: ("mean and std", "--mean and --std"),
    "resize": ("resize", "--resize N or --resize squash"),
    "crop_ratio": ("crop ratio", "--crop-ratio"),
    "interpolation": ("interpolation", "--interpolation"),
    "channels": ("channels", "--channels"),
    "crop_rounding": ("half a pixel of the cut goes", "--resize"),
}


def read_inputs(
    said: Sequence[Said], source: str, told: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """What is said of the input, by the names of `InputSpec`, and notes on where it is from.

    Args:
        said: by the file and those beside it.
        source: the file's name, for messages.
        told: by the user, by the names of `InputSpec`: it stands, whatever the file says.

    Raises:
        InputError: two keys contradict each other, or one says what cannot be done.
    """
    rest, processors = split_processors([s for s in said if not _OF_TRAINING.search(s.place)])
    claims = [*normalization_claims(rest), *claims_of(rest)]
    claims += [claim for keys in processors for claim in processor_claims(keys)]
    unused = [f"{c.name} {c.said} is unused: {c.fault}" for c in claims if c.field == UNUSED]
    chosen: dict[str, Claim] = {}
    for field in _FIELDS:
        if not _is_told(field, told):
            own = sorted((c for c in claims if c.field == field), key=_precedence)
            unused += _others(own, source)
            if own:
                chosen[field] = own[0]
    if "image_size" in told:
        # It is told in pixels of the file's own size, if that is known.
        sizes = [c for c in claims if c.field == "image_size" and c.value is not None]
        base = min(sizes, key=_precedence, default=None)
    else:
        base = chosen.get("image_size")
    notes = _notes(chosen, told)
    return _values(chosen, base, source, told), [*notes, *unused]


def _is_told(field: str, told: Mapping[str, Any]) -> bool:
    if field == FIELD:
        return {"mean", "std"} <= set(told)
    # A number of pixels is in place of a ratio.
    return field in told or (field == "crop_ratio" and isinstance(told.get("resize"), int))


def _precedence(claim: Claim) -> tuple[bool, int]:
    return claim.beside, claim.rank


def _others(claims: Sequence[Claim], source: str) -> list[str]:
    """Notes on what is not used beside the first; InputError where none is to be believed first."""
    notes = []
    for other in claims[1:]:
        if _same(claims[0].value, other.value) and not claims[0].fault:
            continue
        if _precedence(other) == _precedence(claims[0]):
            raise _refused(claims[0], source, other)
        notes.append(f"{other.name} {other.said} is unused: {claims[0].name} says {claims[0].said}")
    if claims and claims[0].fault:
        raise _refused(claims[0], source)
    return notes


def _refused(claim: Claim, source: str, other: Claim | None = None) -> InputError:
    what = f"{claim.name} {claim.said}"
    why = claim.fault if other is None else "which contradict each other"
    if other is not None:
        what += f" and {other.name} {other.said}"
    return InputError(
        f"{source} says {what}: {why}", f"say what is right with {_FIELDS[claim.field][1]}."
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-4
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(map(_same, a, b))
    return bool(a == b)


def _notes(chosen: Mapping[str, Claim], told: Mapping[str, Any]) -> list[str]:
    """Where each value is from that is used."""
    notes = []
    for field, claim in chosen.items():
        what, name = _FIELDS[field][0], claim.name
        if field == FIELD:
            mean, _, std = name.partition(" and ")
            if "mean" in told:
                what, name = "std", std or mean
            elif "std" in told:
                what, name = "mean", mean
        elif field == "resize" and "crop_ratio" in told and isinstance(claim.value, int):
            continue
        else:
            what += f" {_in_words(claim.value)}"
        notes.append(f"{what} as {name} {'say' if ' and ' in name else 'says'}")
    return notes


def _in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]} x {value[1]}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(
    chosen: Mapping[str, Claim], base: Claim | None, source: str, told: Mapping[str, Any]
) -> dict[str, Any]:
    """The claims as values of `InputSpec`."""
    values = {field: claim.value for field, claim in chosen.items() if field != FIELD}
    if base is not None:
        values["image_size"] = base.value
    if FIELD in chosen:
        values["mean"], values["std"] = chosen[FIELD].value
    size, resize = values.get("image_size"), values.get("resize")
    ratio = values.get("crop_ratio")
    if resize is None or resize == SQUASH:
        return values
    pixels = resize if isinstance(resize, int) else resize[0]
    if ratio is not None and (size is None or floor(size / ratio) != pixels):
        raise _refused(chosen["resize"], source, chosen["crop_ratio"])
    if size is not None and pixels < size and "image_size" not in told:
        raise InputError(
            f"{source} says {chosen['resize'].name} {chosen['resize'].said}, which leaves less "
            f"than the {size} px of the input",
            f"say what is right with {_FIELDS['resize'][1]}, or --image-size N.",
        )
    if isinstance(resize, int) and "crop_ratio" in told:
        del values["resize"]
    elif isinstance(resize, int):
        values.pop("crop_ratio", None)
    else:
        values["resize"] = SQUASH
        # Nothing else says a size: it is the network's.
        values.setdefault("image_size", pixels)
        if size is not None and size != pixels and "crop_ratio" not in told:
            values["crop_ratio"] = _share(size, pixels)
    return values


def _share(size: int, pixels: int) -> float:
    """The ratio that makes ``pixels`` of ``size``, whatever its last bit."""
    share = size / pixels
    return share if floor(size / share) == pixels else size / (pixels + 0.5)
