"""Which of several processes of one task this is: all compute, and only the first one writes.

A launcher, such as torchrun, starts the same command several times, on one machine or on many, and
tells each process its place in the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edgeresnet.errors import InputError

RANK, COUNT, ADDRESS = "RANK", "WORLD_SIZE", "MASTER_ADDR"
LOCAL_RANK, LOCAL_COUNT = "LOCAL_RANK", "LOCAL_WORLD_SIZE"


@dataclass(frozen=True)
class Rank:
    """The place of this process.

    Attributes:
        number: from 0 on; 0 is the first.
        count: of all processes, on all machines.
        local: from 0 on, on this machine.
        local_count: of the processes on this machine.
    """

    number: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1


ALONE = Rank()


def this_rank() -> Rank:
    """The place of this process; `ALONE` where nobody has told one.

    Raises:
        InputError: what the environment says of it is no number, or cannot be.
    """
    # A batch system may say the number of processes without starting any.
    if any(name not in os.environ for name in (RANK, COUNT, ADDRESS)):
        return ALONE
    number, count = _number(RANK, 0), _number(COUNT, 1)
    if not 0 <= number < count:
        raise InputError(
            f"{RANK} {number} and {COUNT} {count} in the environment are of no process",
            f"start it with torchrun, or unset {RANK} and {COUNT}.",
        )
    return Rank(number, count, _number(LOCAL_RANK, number), _number(LOCAL_COUNT, count))


def is_first() -> bool:
    """Whether this process writes, prints and holds locks for all."""
    return this_rank().number == 0


def _number(name: str, unsaid: int) -> int:
    text = os.environ.get(name, str(unsaid))
    if not text.isascii() or not text.isdecimal():
        raise InputError(
            f"{name} {text!r} in the environment is no number",
            f"start it with torchrun, or unset {name}.",
        )
    return int(text)
