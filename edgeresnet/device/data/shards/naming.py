"""Which shards a DATA SPEC means: a folder of them, or ``train-{000000..000009}.tar``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeresnet.device.data.class_names import listed
from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.listing import is_junk, sub_folders
from edgeresnet.device.data.parts import PARTS
from edgeresnet.errors import InputError
from edgeresnet.untrusted import short

RANGE = re.compile(
    r"(?P<before>[^{}]*)\{(?P<first>\d{1,9})\.\.(?P<last>\d{1,9})\}(?P<after>[^{}]*)"
)
SHARD = re.compile(r"(?P<stem>.*?)(?P<number>\d*)\.tar", re.IGNORECASE | re.DOTALL)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")
# A part's name stands alone, or between signs: train-000000.tar, imagenet_val_03.tar.
WORDS = re.compile(r"[^a-z]+")
MOST_SHARDS = 1_000_000
# What says what is in the shards beside it, where `edgeresnet shard` has written them.
INDEX = "index.json"
EXAMPLE = "shards/train-{000000..000009}.tar"


@dataclass(frozen=True)
class Named:
    """The shards that a user names.

    Attributes:
        folder: they lie in.
        files: their names, in order; None: all that lie there.
    """

    folder: Path
    files: tuple[str, ...] | None


def check_is_local(spec: str) -> None:
    """Refuse what webdataset's own readers would run or fetch.

    Raises:
        InputError: it is a command or an address.
    """
    if spec.lower().startswith("pipe:") or re.match(r"[a-zA-Z][\w+.-]*://", spec):
        raise InputError(
            f"data {short(spec)} is no file of this machine: nothing is run and nothing is fetched",
            f"copy the shards here and give their place, as --data '{EXAMPLE}'.",
        )


def is_range(path: Path) -> bool:
    """Whether a DATA SPEC names shards by their numbers."""
    return "{" in path.name and path.name.lower().endswith((".tar", *COMPRESSED))


def is_shards(path: Path) -> bool:
    """Whether a DATA SPEC means shards: files by name, or a folder of them and of no classes."""
    if is_range(path) or path.name.lower().endswith((".tar", *COMPRESSED)):
        return not path.is_dir()
    if not path.is_dir():
        return False
    if sub_folders(path) and not (path / INDEX).is_file():
        return False
    return any(_is_shard(one.name) for one in path.iterdir())


def named(path: Path) -> Named:
    """Which shards a path means.

    Raises:
        InputError: it is no range as ``{000000..000009}``, or the shards are compressed.
    """
    if path.is_dir():
        return Named(path, None)
    if (suffix := _compression(path.name)) is not None:
        raise InputError(
            f"data {path} is compressed ({suffix}): a shard is read from its middle on",
            "unpack it to .tar; the images in it are compressed already.",
        )
    if not is_range(path):
        return Named(path.parent, (path.name,))
    found = RANGE.fullmatch(path.name)
    first, last = (int(found[key]) for key in ("first", "last")) if found else (1, 0)
    if found is None or not first <= last < first + MOST_SHARDS:
        raise InputError(f"data {path} is no range of shards", f"give one, as --data '{EXAMPLE}'.")
    width = len(found["first"])
    numbers = (str(number).zfill(width) for number in range(first, last + 1))
    return Named(path.parent, tuple(f"{found['before']}{n}{found['after']}" for n in numbers))


def part_of(stem: str) -> Split | None:
    """Which part of the data shards of such a name are; None: it does not say."""
    words = set(WORDS.split(stem.lower()))
    return next((part for part, names in PARTS.items() if words.intersection(names)), None)


def stem_of(name: str) -> str:
    """What the name of a shard has before its number."""
    found = SHARD.fullmatch(name)
    return found["stem"] if found else name


def stems_in(folder: Path) -> dict[str, list[str]]:
    """The shards that lie in a folder, in order, by what their names have before the number.

    Raises:
        InputError: a number among them is missing, or they are compressed.
    """
    groups: dict[str, dict[int, str]] = {}
    for name in sorted(one.name for one in folder.iterdir() if _is_shard(one.name)):
        if (suffix := _compression(name)) is not None:
            raise InputError(
                f"shard {folder / name} is compressed ({suffix}): it is read from its middle on",
                "unpack it to .tar; the images in it are compressed already.",
            )
        found = SHARD.fullmatch(name)
        assert found is not None
        numbers = groups.setdefault(found["stem"], {})
        if (twin := numbers.setdefault(int(found["number"] or 0), name)) != name:
            raise InputError(
                f"{folder} has {short(twin)} and {short(name)}, which are of one number",
                "remove one, or name those to read.",
            )
    for stem, numbers in groups.items():
        absent = sorted(set(range(min(numbers), max(numbers) + 1)) - set(numbers))
        if absent:
            raise InputError(
                f"{folder} has {len(numbers)} shards {short(stem)}*.tar, and not number "
                f"{listed([str(number) for number in absent])}",
                f"copy what is missing, or name those to read, as --data '{EXAMPLE}'.",
            )
    return {stem: [numbers[n] for n in sorted(numbers)] for stem, numbers in groups.items()}


def beside(folder: Path, files: Sequence[str], split: Split) -> tuple[list[str], bool]:
    """The shards of a part, where those of one part are named.

    Args:
        folder: they lie in.
        files: that the user names.
        split: the part to read.

    Returns:
        (the files that are named, or those of the other part beside them; whether their names say
        which part they are).

    Raises:
        InputError: there are none of that part.
    """
    stem = stem_of(files[0])
    own = part_of(stem)
    if own in (None, split):
        return list(files), own is not None
    plain = WORDS.sub(" ", stem.lower())
    for other, names in stems_in(folder).items():
        if part_of(other) == split and _alike(plain, WORDS.sub(" ", other.lower())):
            return names, True
    raise InputError(
        f"{folder} has no {split} shards beside {short(files[0])}",
        f"put them there under the same name, with {split} for {own}.",
    )


def _alike(one: str, other: str) -> bool:
    """Whether two stems are the same but for the names of parts."""
    every = {name for names in PARTS.values() for name in names}
    return [w for w in one.split() if w not in every] == [
        w for w in other.split() if w not in every
    ]


def in_folder(folder: Path, split: Split) -> tuple[list[str], bool]:
    """The shards of a part in a folder; all of them where their names say no part.

    Returns:
        (their names, whether these say which part they are).

    Raises:
        InputError: there are none of that part, or several kinds of them.
    """
    stems = stems_in(folder)
    fitting = [stem for stem in stems if part_of(stem) == split]
    if not any(part_of(stem) for stem in stems) and len(stems) == 1:
        return next(iter(stems.values())), False
    if len(fitting) != 1:
        several = listed([f"{stem}*.tar" for stem in fitting or stems])
        raise InputError(
            f"{folder} has {'several' if fitting else 'no'} {split} shards: {several}",
            f"name those to read, as --data '{EXAMPLE}'; the others are looked for beside them.",
        )
    return stems[fitting[0]], True


def _is_shard(name: str) -> bool:
    return not is_junk(name) and name.lower().endswith((".tar", *COMPRESSED))


def _compression(name: str) -> str | None:
    return next((suffix for suffix in COMPRESSED if name.lower().endswith(suffix)), None)
