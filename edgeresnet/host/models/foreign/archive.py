"""A zip archive's parts, as its directory declares them, before any of them is read."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.host.models.foreign.damage import refused_if_damaged
from edgeresnet.untrusted import MIB, short

# Weights hardly shrink; those of a network of zeros do so more than any program's text does.
_MOST_RATIO = 16
_ALWAYS = 64 * MIB
_FIX = "copy or download the file again; if it was packed anew, save it with torch.save."


def check_archive(path: Path) -> tuple[set[str], int]:
    """The names of an archive's files, without the folder they are in; of another file none.

    Returns:
        The names, and how many bytes the file unpacks to.

    Raises:
        InputError: the file is damaged, or declares what it cannot hold: parts of more bytes than
            it has, twice the same name, or far more than weights shrink to.
    """
    size = path.stat().st_size
    with refused_if_damaged(path):
        if not zipfile.is_zipfile(path):
            return set(), size
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    names = {part.filename.partition("/")[2] for part in parts}
    packed, unpacked = (
        sum(getattr(part, key) for part in parts) for key in ("compress_size", "file_size")
    )
    if len({part.filename for part in parts}) < len(parts):
        twice = sorted(part.filename for part in parts)
        name = next(one for one, other in pairwise(twice) if one == other)
        raise _refused(path, f"has {short(name)} twice")
    for part in parts:
        if part.flag_bits & 1:
            raise _refused(path, f"has {short(part.filename)} encrypted")
        if part.compress_type == zipfile.ZIP_STORED and part.compress_size != part.file_size:
            raise _refused(path, f"declares two sizes of {short(part.filename)}")
    if packed > size:
        raise _refused(path, f"has {size} bytes, and declares parts of {packed}")
    if unpacked > _ALWAYS + _MOST_RATIO * size:
        raise _refused(path, f"has {size} bytes, and would unpack to {unpacked}")
    return names, max(size, unpacked)


def _refused(path: Path, what: str) -> InputError:
    return InputError(f"{shortened(path)} is an archive that {what}", _FIX)
