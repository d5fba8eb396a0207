"""The names of the classes that a file, or the file beside it, lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgeresnet.device.data.class_names import read_class_names
from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.said import Said, named
from edgeresnet.untrusted import parse_json, short

# Of an index; Python reads no number of thousands.
_MOST_DIGITS = 10
# In the order in which they are believed.
_CLASS_KEYS = ("class_to_idx", "idx_to_class", "classes", "class_names", "classnames", "id2label",
               "label_names", "categories", "labels", "label2id")  # fmt: skip
_NAME_TO_INDEX = ("class_to_idx", "label2id")
_INDEX_TO_NAME = ("idx_to_class", "id2label")
# Files that scripts leave beside their weights.
LISTS = tuple(
    f"{name}{suffix}"
    for name in ("classes", "class_names", "class_to_idx", "idx_to_class", "class_indices",
                 "labels", "label_names", "label_map", "id2label")
    for suffix in (".txt", ".json", ".csv")
)  # fmt: skip


def read_classes(
    said: Sequence[Said], outputs: int, source: str
) -> tuple[tuple[str, ...] | None, str | None, list[str]]:
    """Names in the order of the logits and what lists them, or None; and notes on that.

    Raises:
        InputError: two orders of the same classes are given, or a list of as many classes as the
            network has outputs is not understood.
    """
    fitting: list[tuple[str, tuple[str, ...]]] = []
    notes = []
    for one in named(said, _CLASS_KEYS):
        names = _names_in_order(one.key, one.value)
        if names is None:
            _check_is_no_list(one, outputs, source)
            continue
        if all(re.fullmatch(r"LABEL_\d+", n) for n in names):
            continue  # names that somebody's library made up
        if len(names) != outputs:
            notes.append(
                f"{one.name} lists {len(names)} classes, not the network's {outputs}: unused"
            )
            continue
        fitting.append((one.name, names))
    if not fitting:
        return None, None, notes
    first, classes = fitting[0]
    for name, names in fitting[1:]:
        if names != classes and set(names) == set(classes):
            raise InputError(
                f"{source} gives its classes in two orders: {first} {_shown(classes)}, {name} "
                f"{_shown(names)}",
                "remove the wrong one from the file.",
            )
    return classes, first, [*notes, f"classes as {first} lists them"]


def classes_beside(
    path: Path, outputs: int
) -> tuple[tuple[str, ...] | None, str | None, list[str]]:
    """The same of a list of names in the file's folder, where the file itself has none."""
    notes = []
    for file in filter(Path.is_file, (path.with_name(name) for name in LISTS)):
        try:
            names = read_class_names(file)
        except InputError as error:
            notes.append(f"{file.name} beside it is unused: {error.cause}")
            continue
        if len(names) == outputs:
            where = f"{file.name} beside it"
            return names, where, [*notes, f"classes as {where} lists them"]
        notes.append(f"{file.name} beside it lists {len(names)} classes, not {outputs}: unused")
    return None, None, notes


def _check_is_no_list(one: Said, outputs: int, source: str) -> None:
    """Refuse what has as many entries as there are classes, and gives no order of them."""
    if isinstance(one.value, Collection) and not isinstance(one.value, (str, bytes)):
        numbers = isinstance(one.value, (list, tuple)) and one.key == "labels"
        entries = one.value.values() if isinstance(one.value, Mapping) else one.value
        if outputs in (len(one.value), len(set(map(str, entries)))) and not numbers:
            raise InputError(
                f"{source} lists {outputs} classes in {one.name}, whose order is not understood: "
                f"{short(one.value)}",
                "write {name: number} there, numbered from 0, or take it out of the file.",
            )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(short, names[:3])) + (" …" if len(names) > 3 else "")


def _names_in_order(key: str, value: Any) -> tuple[str, ...] | None:
    """Names in the order of the logits; None if this is no list of names."""
    if isinstance(value, str):
        value = _listed_in(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return _of_list(list(value))
    if not isinstance(value, Mapping) or not value:
        return None
    pairs = list(value.items())
    by_name = [(number, name) for name, number in pairs]
    if key in _NAME_TO_INDEX:
        return _in_order(by_name) or _in_order(pairs)
    by_index = _in_order(pairs)
    if key in _INDEX_TO_NAME or by_index is None:
        return by_index or _in_order(by_name)
    # Digits on either side: a number is an index rather than a text of digits is.
    other = _in_order(by_name)
    if other is None or other == by_index:
        return by_index
    typed = {all(isinstance(k, str) for k, _ in pairs), all(isinstance(v, str) for _, v in pairs)}
    if typed != {True, False}:
        return None
    return other if isinstance(pairs[0][0], str) else by_index


def _listed_in(text: str) -> Any:
    """What a text lists: JSON, a name a line, or names between commas."""
    try:
        return parse_json(text)
    except ValueError:
        return [part.strip() for part in re.split(r"\n" if "\n" in text else ",", text.strip())]


def _of_list(values: list[Any]) -> tuple[str, ...] | None:
    """Of names, of pairs of number and name, or of objects with both."""
    if values and all(isinstance(v, Mapping) and {"id", "name"} <= set(v) for v in values):
        return _in_order([(v["id"], v["name"]) for v in values])
    if values and all(isinstance(v, (list, tuple)) and len(v) == 2 for v in values):
        return _in_order(values) or _in_order([(b, a) for a, b in values])
    return _strings(values)


def _in_order(pairs: Sequence[Any]) -> tuple[str, ...] | None:
    """Names by their numbers, which begin with 0 or 1 and leave none out."""
    numbered = {_index(number): name for number, name in pairs}
    first = min((n for n in numbered if n is not None), default=-1)
    if first not in (0, 1) or set(numbered) != set(range(first, first + len(pairs))):
        return None
    return _strings([numbered[first + i] for i in range(len(pairs))])


def _strings(values: Sequence[Any]) -> tuple[str, ...] | None:
    plain = (str, int, np.integer)
    if len(values) < 2 or not all(isinstance(v, plain) for v in values):
        return None
    names = tuple(map(str, values))
    return names if len(set(names)) == len(names) else None


def _index(value: Any) -> int | None:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    digits = isinstance(value, str) and value.isdecimal() and len(value) < _MOST_DIGITS
    return int(value) if digits else None
