"""All that a file, and the files beside it, say outside the tensors: each with its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeresnet.host.models.foreign.openmmlab import read_python

# Under which keys of a file more may be said, and in which files beside it.
_SECTIONS = ("meta", "metadata", "args", "config", "cfg", "hyper_parameters", "hparams", "opt",
             "dataset_meta", "pretrained_cfg", "default_cfg", "data", "data_config", "transform",
             "normalization", "normalize", "preprocessing", "preprocess", "model_args",
             "data_preprocessor", "img_norm_cfg")  # fmt: skip
# The same, where they are in one of those: on top they may hold the tensors, or anything.
_INNER_SECTIONS = ("model", "input")
_DEEPEST = 4
_TEXTS = ("cfg", "config")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class Said:
    """A key and its value.

    Attributes:
        place: the sections that it is in, as ``args.``; and the file beside, as ``config.json ``.
        key: in lower case.
        name: both, as the file has them.
        value: what stands there.
        beside: in a file beside the checkpoint.
    """

    place: str
    key: str
    name: str
    value: Any
    beside: bool = False


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
        notes.append(f"{CONFIG} beside it is not of a network of {outputs} outputs: unused")
    if processor:
        notes.append(f"{PREPROCESSOR} beside it is unused: no {CONFIG} says that it is of this "
                     "network")  # fmt: skip
    return [], notes


def _walk(
    content: Mapping[Any, Any], place: str = "", beside: bool = False, depth: int = 0
) -> Iterator[Said]:
    """Every key outside the tensors, those inside the known sections as ``args.classes``."""
    for key, value in content.items():
        inner, lower = _inside(str(key).lower(), value), str(key).lower()
        known = lower in _SECTIONS or (depth > 0 and lower in _INNER_SECTIONS)
        if isinstance(inner, Mapping) and known and depth < _DEEPEST:
            yield from _walk(inner, f"{place}{key}.", beside, depth + 1)
        if value is not None:
            yield Said(place, lower, f"{place}{key}", value, beside)


def _inside(key: str, value: Any) -> Any:
    """What a section may be: a dictionary, a script's arguments, or a configuration's text."""
    if isinstance(value, str) and key in _TEXTS:
        return read_python(value)
    # The arguments of a script have attributes, and no keys.
    plain = isinstance(value, Mapping) or not hasattr(value, "__dict__")
    return value if plain else vars(value)


def _neighbour(path: Path, name: str) -> list[Said]:
    if not (file := path.parent / name).is_file():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # somebody else's file: it need not be about this checkpoint
    if not isinstance(content, dict):
        return []
    return list(_walk(content, f"{name} ", beside=True))


def _is_about(config: Sequence[Said], outputs: int) -> bool:
    """Whether a configuration beside the file is of a network with as many outputs."""
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
    return re.sub(r"(?s)(.{60}).+", r"\1 …", str(value))
