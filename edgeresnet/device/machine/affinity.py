"""The processors that a measurement runs on, set and taken back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from edgeresnet.errors import InputError


@contextmanager
def on_cpus(cpus: str | None) -> Iterator[None]:
    """A block whose threads, those of runtimes too, run on some logical processors only.

    Threads that run already stay where they are; what the block starts inherits its processors.

    Args:
        cpus: as ``0-3,8``; None changes nothing.

    Raises:
        InputError: that is no list of processors, or this process may not use one of them.
    """
    if cpus is None:
        yield
        return
    wanted = _numbers(cpus)
    if not hasattr(os, "sched_setaffinity"):
        raise InputError(
            "--cpus needs Linux, where a process can be told its processors", "leave it out."
        )
    before = os.sched_getaffinity(0)
    if missing := wanted - before:
        named = ", ".join(map(str, sorted(missing)))
        raise InputError(
            f"--cpus {cpus} names processors that this process may not use: {named}",
            f"give some of {', '.join(map(str, sorted(before)))}.",
        )
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _numbers(cpus: str) -> set[int]:
    numbers: set[int] = set()
    for part in cpus.split(","):
        span = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if first > last:
            raise InputError(f"--cpus {cpus} is no list of processors", "give it as --cpus 0-3,8.")
        numbers |= set(range(first, last + 1))
    return numbers
