"""All that a file, and the files beside it, say outside the tensors: each with its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.content import section
from edgeresnet.host.models.foreign.key_names import canonical
from edgeresnet.host.models.foreign.openmmlab import read_python, with_normalization
from edgeresnet.untrusted import parse_json, read_bytes, short

# Under which keys of a file a network and its input are described.
_SECTIONS = ("meta", "metadata", "__metadata__", "args", "config", "cfg", "hyper_parameters",
             "hparams", "opt", "dataset_meta", "pretrained_cfg", "default_cfg", "data",
             "data_config", "transform", "normalization", "normalize", "preprocessing",
             "preprocess", "model_args", "data_preprocessor", "img_norm_cfg")  # fmt: skip
_INNER_SECTIONS = ("model", "input")
_TRANSFORMS = (
    (
        re.compile(r"\bNormalize\(mean=([\[(][^])]{0,200}[])]), std=([\[(][^])]{0,200}[])])"),
        ("mean", "std"),
    ),
    (re.compile(r"\bCenterCrop\(size=(\d+|[\[(][^])]{0,200}[])])"), ("crop_size",)),
    (re.compile(r"\bResize\(size=(\d+|[\[(][^])]{0,200}[])])"), ("resize",)),
    (re.compile(r"\bResize\(size=.{0,200}?interpolation=([\w.]+)"), ("interpolation",)),
)
_DEEPEST = 4
_LONGEST_NAME = 200
_TEXTS = ("cfg", "config")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class Said:
    """A key and its value.

    Attributes:
        place: the sections that it is in, as ``args.``; and the file beside, as ``config.json ``.
        key: by its name in `edgeresnet.host.models.foreign.key_names`, in lower case.
        name: both, as the file has them.
        value: what stands there.
        beside: in a file beside the checkpoint.
    """

    place: str
    key: str
    name: str
    value: Any
    beside: bool = False

    @property
    def known(self) -> bool:
        """Whether it stands on top, or in sections that describe a network and its input."""
        sections = self.place.rpartition(" ")[2].lower().split(".")[:-1]
        return all(one in _SECTIONS + _INNER_SECTIONS for one in sections)


def all_said(content: Mapping[Any, Any]) -> list[Said]:
    """What a file says, the arguments of its script and other known sections included."""
    return list(_walk(content))


def said_beside(path: Path, outputs: int) -> tuple[list[Said], list[str]]:
    """What the configurations beside a file say if they are of a network with as many outputs.

    Returns:
        That, and which of them are not used.
    """
    config, processor = _neighbour(path, CONFIG), _neighbour(path, PREPROCESSOR)
    if _is_about(config, outputs):
        return config + processor, []
    notes = []
    if config:
        notes.append(f"{CONFIG} beside it is not of a ResNet of {outputs} outputs: unused")
    if processor:
        notes.append(f"{PREPROCESSOR} beside it is unused: no {CONFIG} says that it is of this "
                     "network")  # fmt: skip
    return [], notes


def _walk(
    content: Mapping[Any, Any], place: str = "", beside: bool = False, depth: int = 0
) -> Iterator[Said]:
    """Every key outside the tensors, those inside of others as ``args.classes``."""
    for key, value in with_normalization(content).items():
        lower = str(key).lower()
        inner = _inside(lower, value)
        if isinstance(inner, Mapping) and depth < _DEEPEST and not _holds_tensors(inner):
            yield from _walk(inner, f"{place}{key}.", beside, depth + 1)
        if isinstance(value, str):
            yield from _of_transforms(f"{place}{key}.", value, beside)
        if value is not None:
            yield Said(place, canonical(lower), _printable(f"{place}{key}"), value, beside)


def _printable(name: str) -> str:
    """A name for messages, whatever a stranger calls a key."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else short(name)


def _of_transforms(place: str, text: str, beside: bool) -> Iterator[Said]:
    """What torchvision's transforms say of themselves, written out."""
    for pattern, keys in _TRANSFORMS:
        for found in pattern.finditer(text):
            for key, value in zip(keys, found.groups(), strict=True):
                digits = re.findall(r"[\d.]+", value)
                numbers = [int(one) if one.isdecimal() else float(one) for one in digits]
                whole = numbers if len(numbers) > 1 else numbers[0] if numbers else value
                yield Said(place, key, f"{place}{found[0].partition('(')[0]}", whole, beside)


def _holds_tensors(section: Mapping[Any, Any]) -> bool:
    """Whether this is a state_dict, in which nothing is said."""
    return any(isinstance(value, Tensor) and value.ndim > 1 for value in section.values())


def _inside(key: str, value: Any) -> Any:
    """What a section may be: a dictionary, a script's arguments, or a configuration's text."""
    if isinstance(value, str) and key in _TEXTS:
        return read_python(value)
    return section(value)


def _neighbour(path: Path, name: str) -> list[Said]:
    if not (file := path.parent / name).is_file():
        return []
    try:
        content = parse_json(read_bytes(file, name))
    except (InputError, ValueError):
        return []  # somebody else's file: it need not be about this checkpoint
    if not isinstance(content, dict):
        return []
    return list(_walk(content, f"{name} ", beside=True))


def _is_about(config: Sequence[Said], outputs: int) -> bool:
    """Whether a configuration beside the file is of a ResNet with as many outputs."""
    if any(said.value != "resnet" for said in named(config, ("model_type",))):
        return False
    numbers = [said.value for said in named(config, ("num_classes", "num_labels"))]
    labels = [len(s.value) for s in named(config, ("id2label",)) if isinstance(s.value, Mapping)]
    return outputs in (*numbers, *labels)


def named(said: Sequence[Said], keys: Sequence[str]) -> list[Said]:
    """What stands under one of these keys, in the keys' order."""
    return [one for key in keys for one in said if one.key == key]


def shown(value: Any) -> str:
    """A value in a message; of a tensor its shape."""
    if hasattr(value, "shape"):
        return f"of shape {tuple(value.shape)}"
    return short(str(value) if isinstance(value, (str, int, float)) else value)
