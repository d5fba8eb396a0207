"""Names of classes: which of two lists mean the same, in which order they come, and their files."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.errors import InputError
from edgeresnet.untrusted import MIB, parse_json, read_bytes, short

SHOWN = 5
# A file of a million names has less, and a name of ImageNet 120 letters.
MOST_BYTES = 64 * MIB
LONGEST_NAME = 1000
INDEX_HEADINGS = ("index", "idx", "id", "number", "class_id", "class_idx", "class_index")
# How the line on a foreign checkpoint ends, before and after the images are seen to have no labels.
SORTED_CLASSES = "classes by sorted folder name (by number where images have no labels)"
_NUMBERED_CLASSES = "classes by number (the images have no labels)"
_CLASSES_SAID = re.compile(r", classes (by|as) .*$")


def made_up(classes: Sequence[str]) -> bool:
    """Whether these are the numbers that stand for names where a file has none."""
    return tuple(classes) == tuple(str(i) for i in range(len(classes)))


def retold(line: str, order: str | None, names_path: Path | None) -> str:
    """A line on a foreign checkpoint with what the user says of its classes.

    Args:
        line: that ends in by what they are; any other stays as it is.
        order: ``--class-order``: ``sorted`` or ``natural``.
        names_path: file of ``--classes``.
    """
    if names_path is not None:
        words = f"classes as {names_path.name} lists them"
    elif order == "natural":
        words = "classes by folder name in natural order"
    else:
        return line
    return _CLASSES_SAID.sub(lambda _: f", {words}", line)


def without_labels(line: str) -> str:
    """The line on a foreign checkpoint whose images turned out to have no labels."""
    return line.replace(SORTED_CLASSES, _NUMBERED_CLASSES)


def _composed(name: str) -> str:
    # File systems differ in whether an umlaut is one character or two.
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())


def _joined(name: str) -> str:
    """Without separators, but between digits, where "1-0" is not "10"."""
    spaced = re.sub(r"[\s_./-]+", " ", _folded(name)).strip()
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced)


# From the strictest reading of a name to the loosest.
READINGS: tuple[Callable[[str], str], ...] = (str, _composed, _folded, _joined)


def match_names(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Which name of the one list is which of the other, by place; unmatched ones are left out.

    Equal names first; of the others those that differ in Unicode form, then in case, then in
    separators, and only where one name alone reads so on either side.
    """
    matched: dict[int, int] = {}
    for reading in READINGS:
        left = _alone(ours, reading, matched.keys())
        right = _alone(theirs, reading, matched.values())
        matched |= {left[key]: right[key] for key in left.keys() & right.keys()}
    return matched


def _alone(names: Sequence[str], reading: Callable[[str], str], done: Any) -> dict[str, int]:
    """Places of the names that are not done and that no other such name reads like."""
    places: dict[str, list[int]] = {}
    gone = set(done)
    for place, name in enumerate(names):
        if place not in gone:
            places.setdefault(reading(name), []).append(place)
    return {key: found[0] for key, found in places.items() if len(found) == 1}


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers inside names by their value: 2 before 10."""
    # Python reads no number of thousands of digits.
    split = re.split(r"(\d+)", name, flags=re.ASCII)
    parts = [int(part[:4000]) if i % 2 else part for i, part in enumerate(split)]
    return parts, name


def check_lengths(names: Iterable[str]) -> None:
    """Refuse what is too long to be a name.

    Raises:
        ValueError: says how long.
    """
    if (longest := max(map(len, names), default=0)) > LONGEST_NAME:
        raise ValueError(f"a name has {longest} letters, and {LONGEST_NAME} are the most")


def listed(names: Sequence[str]) -> str:
    """The first few, for a message."""
    more = f" … ({len(names)})" if len(names) > SHOWN else ""
    return ", ".join(map(short, names[:SHOWN])) + more


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names in the order of a model's outputs.

    Args:
        path: a text file with a name a line; a JSON list, ``{index: name}`` or ``{name: index}``;
            or a CSV with a name a line, or index and name, with or without a heading.

    Raises:
        InputError: the file is not there or is none of these, or a name or an index is double.
    """
    check_is_text(path, "a list of class names", "give a text file in UTF-8.")
    content = read_bytes(path, "class names", most_bytes=MOST_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"class names {path} cannot be read: {error}", "give a text file in UTF-8."
        ) from error
    readers = {".json": _from_json, ".csv": _from_csv}
    try:
        names = readers.get(path.suffix.lower(), _from_lines)(text)
        check_lengths(names)
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(
            f"class names {path} cannot be understood: {error}",
            "give a name a line, a JSON list, or an object of index and name.",
        ) from error
    double = sorted(name for name, times in Counter(names).items() if times > 1)
    if len(names) < 2 or double:
        why = f"names {listed(double)} more than once" if double else "has fewer than two names"
        raise InputError(f"{path} {why}", "give each class one name of its own.")
    return names


def _from_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _from_json(text: str) -> tuple[str, ...]:
    content = parse_json(text)
    if isinstance(content, Mapping):
        check_lengths(content)
        values = list(content.values())
        if values and all(type(value) is int for value in values):
            return _by_index({value: name for name, value in content.items()}, len(content))
        return _by_index({int(index): str(name) for index, name in content.items()}, len(content))
    if not isinstance(content, list) or not all(isinstance(name, (str, int)) for name in content):
        raise ValueError("it is neither a list nor an object of names")
    return tuple(str(name) for name in content)


def _from_csv(text: str) -> tuple[str, ...]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    if all(len(row) == 1 for row in rows):
        return tuple(row[0] for row in rows)
    if any(len(row) != 2 for row in rows):
        raise ValueError("its lines have different numbers of columns")
    titled = not any(cell.isdecimal() for cell in rows[0])
    body = rows[titled:]
    columns = [c for c in (0, 1) if body and all(row[c].isdecimal() for row in body)]
    if titled and len(columns) > 1:
        columns = [c for c in columns if rows[0][c].lower() in INDEX_HEADINGS] or columns
    if not columns:
        raise ValueError("no column has the numbers of the classes")
    numbered = [{int(row[c]): row[1 - c] for row in body} for c in columns]
    whole = [one for one in numbered if sorted(one) == list(range(len(body)))]
    return _only([_by_index(one, len(body)) for one in whole or numbered[:1]])


def _only(readings: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Names that are digits too may be read either way: the same then, or nobody knows."""
    if any(reading != readings[0] for reading in readings):
        raise ValueError(
            "names and indices are both numbers, and nothing says which are which (in a CSV a "
            "heading: index,name)"
        )
    return readings[0]


def _by_index(names: Mapping[int, str], count: int) -> tuple[str, ...]:
    if sorted(names) != list(range(count)):
        raise ValueError(f"the classes are not numbered from 0 to {count - 1}, each once")
    return tuple(names[index] for index in range(count))
