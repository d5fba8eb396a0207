"""Outputs that are refused before the work, not after it."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.locks import TRIES
from edgeresnet.files.places import in_place, shortened
from edgeresnet.files.writing import PARTIAL, writing


def check_output_file(path: Path, option: str, example: str) -> None:
    """Refuse an output file before the work, not after it: tried out, and nothing is left of it.

    Args:
        path: the file, which need not exist, nor its folder.
        option: by which it was given.
        example: of such a file, for the message.

    Raises:
        InputError: it cannot be written, or something else than a file is there.
        MissingError: there is no room for it.
    """
    with writing(path, option, begun=False):
        place = in_place(path)
        if place.is_dir():
            raise InputError(f"{option} {path} is a folder", f"give a file, such as {example}.")
        if place.exists() and not place.is_file():
            raise InputError(f"{option} {path} is no regular file", f"give one, such as {example}.")
        _try_out(place, option)


def check_output_folder(path: Path, option: str) -> None:
    """Refuse an output folder before the work, not after it.

    Raises:
        InputError: it cannot be made or replaced, or a file is there.
        MissingError: there is no room for it.
    """
    with writing(path, option, begun=False):
        place = in_place(path)
        if place.exists() and not place.is_dir():
            raise InputError(f"{option} {path} is a file", "give a folder, or a new name.")
        here = Path.cwd()
        if place.exists() and Path(os.path.realpath(place)) in (here, *here.parents):
            raise InputError(
                f"{option} {path} holds the folder that you are in", "give a folder of its own."
            )
        if os.path.ismount(place):
            raise InputError(
                f"{option} {path} is where a file system is mounted, and cannot be replaced",
                f"give a folder in it, such as {option} {path / 'new'}.",
            )
        _try_out(place, option)


def check_room(place: Path, needed: int, what: str, fix: str) -> None:
    """Refuse a disk that has no room for what will be written, before the work.

    Args:
        place: a file or folder, which need not exist.
        needed: at least, in bytes.
        what: will be written, for the message.
        fix: where else it may go, as an instruction.

    Raises:
        MissingError: less is free there.
    """
    parents = (place, *place.absolute().parents)
    try:
        free = shutil.disk_usage(next(p for p in parents if p.exists())).free
    # Some file systems do not tell: then writing shows it.
    except (OSError, StopIteration):
        return
    if free < needed:
        raise MissingError(
            f"{what} takes about {_mb(needed)}, and {_mb(free)} are free where "
            f"{shortened(place)} lies",
            fix,
        )


def _mb(size: int) -> str:
    """A size for people, who have disks in decimal units."""
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def _try_out(place: Path, option: str) -> None:
    """Make the folders of a file, and a file with the longest name that will stand beside it.

    All under names of their own, which are gone afterwards: others may try out the same at once.
    """
    for _ in range(TRIES - 1):
        # The folder that was there has just gone with another's lock, for which it was made.
        with suppress(FileNotFoundError):
            _try_once(place, option)
            return
    _try_once(place, option)


def _try_once(place: Path, option: str) -> None:
    folder = place.absolute().parent
    beneath = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not _is_folder(beneath):
        what = "a file" if beneath.exists() else "a link to nothing"
        raise InputError(
            f"{option} {shortened(place)}: {beneath} is {what}", f"give another {option}."
        )
    # As a resume file of this output that is being written.
    name = f"..{place.name}-2.resume.{secrets.token_hex(4)}{PARTIAL}"
    if beneath == folder:
        _touch(folder / name)
        return
    with TemporaryDirectory(dir=beneath, prefix=".", suffix=PARTIAL) as own:
        inner = Path(own, folder.relative_to(beneath))
        inner.mkdir(parents=True, exist_ok=True)
        _touch(inner / name)


def _is_folder(path: Path) -> bool:
    """Whether what has just been seen is one; of a link, what it leads to.

    Raises:
        FileNotFoundError: it has gone.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        # To nothing, or in a circle.
        if path.is_symlink():
            return False
        raise


def _touch(trial: Path) -> None:
    trial.touch(exist_ok=False)
    trial.unlink()
