"""The names of the classes that a file, or the file beside it, lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.said import Said, named

# In the order in which they are believed.
_CLASS_KEYS = ("class_to_idx", "idx_to_class", "classes", "class_names", "classnames", "id2label",
               "label_names", "categories", "labels", "label2id")  # fmt: skip
_NAME_TO_INDEX = ("class_to_idx", "label2id")


def read_classes(
    said: Sequence[Said], outputs: int, source: str
) -> tuple[tuple[str, ...] | None, str | None, list[str]]:
    """Names in the order of the logits and what lists them, or None; and notes on that.

    Raises:
        InputError: two orders of the same classes are given.
    """
    fitting: list[tuple[str, tuple[str, ...]]] = []
    notes = []
    for one in named(said, _CLASS_KEYS):
        names = _names_in_order(one.key, one.value)
        if names is None or all(re.fullmatch(r"LABEL_\d+", n) for n in names):
            continue  # a number of classes, or names that somebody's library made up
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


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _names_in_order(key: str, value: Any) -> tuple[str, ...] | None:
    """Names in the order of the logits; None if this is no list of names."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return _strings(list(value))
    if not isinstance(value, Mapping) or not value:
        return None
    pairs = list(value.items())
    by_name = key in _NAME_TO_INDEX or not all(_index(k) is not None for k, _ in pairs)
    if by_name:
        pairs = [(v, k) for k, v in pairs]
    numbered = {_index(k): v for k, v in pairs}
    if sorted(n for n in numbered if n is not None) != list(range(len(pairs))):
        return None
    return _strings([numbered[i] for i in range(len(pairs))])


def _strings(values: Sequence[Any]) -> tuple[str, ...] | None:
    plain = (str, int, np.integer)
    return tuple(map(str, values)) if values and all(isinstance(v, plain) for v in values) else None


def _index(value: Any) -> int | None:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() else None
