"""What no model file may be, whoever wrote it and whichever runtime reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from edgeresnet.device.machine.environment import memory_bytes
from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import MIB, opened, short, visible

# Elements of a tensor: 1 GiB of floats. At 1,024 px a ResNet's largest has 2^24 for an image.
# And of an input: 445 images of 224 px.
MOST_ELEMENTS = 1 << 28
MOST_INPUTS = 1 << 26
MOST_RANK, FLOAT_BYTES = 16, 4
# Signs of what a runtime says.
MOST_SAID = 600
FIX = "export the model again as a plain image classifier, without what is named here."


def most_bytes() -> int:
    """Of a file of this machine: half of its memory, as whoever loads a model holds it twice."""
    return memory_bytes() // 2


def check_length(file: BinaryIO, path: Path) -> int:
    """Bytes of an open file.

    Raises:
        InputError: there are more than this machine can load.
    """
    size = os.fstat(file.fileno()).st_size
    if size > most_bytes():
        raise InputError(
            f"{shortened(path)} has {size / MIB:.0f} MiB, and a model of more than "
            f"{most_bytes() / MIB:.0f} MiB does not fit into the memory of this machine",
            "take a machine with more memory, or see that it is the right file.",
        )
    return size


def check_beside(model_path: Path, location: str) -> tuple[Path, int]:
    """A file of weights that a model names, and its bytes.

    Raises:
        InputError: the name leads out of the model's folder, or to no regular file.
    """
    name = short(location)
    refused = f"{shortened(model_path)} keeps weights in {name!r}, which "
    parts = location.replace("\\", "/").split("/")
    if not location or not location.isprintable() or ":" in location or ".." in parts:
        raise InputError(f"{refused}is no name of a file in its folder", FIX)
    if location.startswith(("/", "\\")) or len(location) > 1024:
        raise InputError(f"{refused}is no name of a file in its folder", FIX)
    path = model_path.parent / location
    # Caches of downloads keep links in a folder, and the files of all of them in another.
    homes = [model_path.parent.resolve(), model_path.resolve().parent]
    if not any(path.resolve().is_relative_to(home) for home in homes):
        raise InputError(f"{refused}is a link out of its folder", "put the file in its place.")
    with opened(path, "file of weights") as file:
        return path, check_length(file, path)


def elements(sides: Iterable[int | None]) -> int:
    """Of a tensor; an open side counts as 1."""
    return prod(1 if side is None else side for side in sides)


def check_tensor(
    path: Path, what: str, sides: Iterable[int | None], most: int = MOST_ELEMENTS
) -> None:
    """Refuse a tensor that no image classifier has.

    Args:
        path: the model.
        what: the tensor is, for the message.
        sides: its shape; None for what is open.
        most: elements that it may have.

    Raises:
        InputError: it has too many sides, a negative one, or too many elements.
    """
    shape = [*sides]
    shown = short("x".join("?" if side is None else str(side) for side in shape))
    cause = None
    if len(shape) > MOST_RANK:
        cause = f"has {len(shape)} sides"
    elif any(side is not None and side < 0 for side in shape):
        cause = f"has a negative side ({shown})"
    elif elements(shape) > most:
        cause = f"has {shown} elements, more than {most}"
    if cause:
        raise InputError(f"{shortened(path)} is refused: {what} {cause}", FIX)


def check_order(path: Path, what: str, sources: Mapping[Any, Iterable[Any]]) -> None:
    """Refuse a graph that has no order in which it could be run.

    Args:
        path: the model.
        what: is ordered, for the message.
        sources: of each the others that must come before it.

    Raises:
        InputError: some go in a circle.
    """
    try:
        TopologicalSorter(sources).prepare()
    except CycleError:
        raise refuse(path, f"its {what} go in a circle") from None


def refuse(path: Path, why: str) -> InputError:
    """The error of a model that is not even opened."""
    return InputError(f"{shortened(path)} is refused before it is run: {why}", FIX)


def said(error: Exception) -> str:
    """What a runtime says of a model, on one line and cut: a stranger's names stand in it."""
    text = " ".join(str(error).split())
    text = text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"
    return visible(text, kept="")
