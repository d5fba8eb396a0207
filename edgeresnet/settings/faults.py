"""What is wrong with settings, in words: one message tells all of it, each with its fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from edgeresnet.errors import InputError
from edgeresnet.untrusted import short

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# The type of an error whose words come from the validator that raised it.
FAULT = "setting"
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dataclass": "keys and values",
    "finite": "a finite number",
}
# How a value lies outside a limit, how to say the limit, and what pydantic calls it.
BOUNDS = {
    "greater_than_equal": ("small", "of {:g} or more", "ge"),
    "greater_than": ("small", "above {:g}", "gt"),
    "less_than_equal": ("large", "of {:g} or less", "le"),
    "less_than": ("large", "below {:g}", "lt"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        key: where, as ``("train", "lr")``.
        cause: what is wrong with it.
        fix: what to give instead; empty where the key itself is the fault.
    """

    key: tuple[str | int, ...]
    cause: str
    fix: str

    @property
    def name(self) -> str:
        """The key in one word, ``train.lr``."""
        return ".".join(short(str(part)) for part in self.key)


class SettingsError(InputError):
    """Settings that cannot be.

    Attributes:
        faults: all of them.
    """

    def __init__(self, cause: str, fix: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(cause, fix)
        self.faults = tuple(faults)

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> SettingsError:
        """The one error that tells these faults."""
        causes = dict.fromkeys(f.cause if f.fix else f"{f.name}: {f.cause}" for f in faults)
        fixes = dict.fromkeys(fault.fix for fault in faults if fault.fix)
        return cls(", and ".join(causes), " ".join(fixes) or "mend these keys.", faults)


def told(error: ValidationError, kind: type[Any]) -> list[Fault]:
    """The faults of an error that pydantic raised.

    Args:
        error: raised on making settings of this kind.
        kind: the settings class.
    """
    faults: dict[object, Fault] = {}
    for line in error.errors(include_url=False):
        key = _key(line, kind)
        cause, fix = _words(line, key, kind)
        # A value of several types fails once for each of them.
        faults.setdefault((key, line["type"] == FAULT), Fault(key, cause, fix))
    return list(faults.values())


def nearest(key: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name, in brackets; else all names."""
    names = list(known)
    close = difflib.get_close_matches(key, names, n=1)
    return f" (is {close[0]} meant?)" if close else f" (known: {', '.join(names)})"


def _key(line: ErrorDetails, kind: type[Any]) -> tuple[str | int, ...]:
    """The keys that the user wrote: no names of types that a union was tried as."""
    key: list[str | int] = []
    section: type[Any] | None = kind
    location = line["loc"]
    if location and isinstance(location[0], int) and line["type"] != "invalid_key":
        # An argument that was given without its name.
        location = (fields(kind)[location[0]].name, *location[1:])
    for part in location:
        key.append(part)
        section = None if section is None else _section(section, part)
        if section is None:
            break
    return tuple(key)


def _section(kind: type[Any], key: str | int) -> type[Any] | None:
    """The settings class that a key's values are of, if they are of one."""
    hint = get_type_hints(kind).get(str(key))
    classes = (h for h in (hint, *get_args(hint)) if isinstance(h, type) and is_dataclass(h))
    return next(classes, None)


def _words(line: ErrorDetails, key: tuple[str | int, ...], kind: type[Any]) -> tuple[str, str]:
    """Cause and fix."""
    name, context = short(str(key[-1])) if key else "it", line.get("ctx", {})
    value = short(line["input"])
    if line["type"] == FAULT:
        return context["cause"], context["fix"]
    if line["type"] in ("unexpected_keyword_argument", "invalid_key"):
        known = [f.name for f in fields(_owner(kind, key))]
        return f"unknown key{nearest(name, known)}", ""
    if line["type"] in ("missing", "missing_argument"):
        return "missing", ""
    if line["type"] in BOUNDS:
        side, limit, bound = BOUNDS[line["type"]]
        return f"{name} {value} is too {side}", f"give {name} {limit.format(context[bound])}."
    if line["type"] == "literal_error":
        choices = context["expected"].replace("'", "").replace(", ", " or ")
        return f"{name} {value} is not known", f"give {name} as {choices}."
    if line["type"] in ("too_short", "string_too_short"):
        return f"{name} is empty", f"give {name} at least one value."
    if line["type"] == "too_long":
        return f"{name} has too many values", f"give {name} {context['max_length']} at most."
    shown = repr(value) if isinstance(line["input"], str) else value
    what = KINDS.get(line["type"].split("_")[0])
    if what is None:
        return f"{name} {shown} cannot be used", f"{line['msg']}."
    return f"{name} {shown} is not {what}", f"give {name} as {what}."


def _owner(kind: type[Any], key: tuple[str | int, ...]) -> type[Any]:
    """The settings class in which a key stands."""
    for part in key[:-1]:
        kind = _section(kind, part) or kind
    return kind
