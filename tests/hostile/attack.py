"""What a stranger tries, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# What a forked process of ours has before it does anything is about a third of it.
MOST_BYTES = 2 << 30
REFUSED = (1, 2, 3)


@dataclass(frozen=True)
class Attack:
    """One command on hostile files.

    Attributes:
        name: of the attack; unique in its item.
        arguments: of the command line, without the program's name. It runs in the folder that
            ``Generator`` was given.
        codes: with which it may end. Most are refused; where 0 is among them, what was done must
            be harmless, which ``harmless`` judges.
        harmless: looks at the folder and at what was printed (stdout and stderr) when the command
            has ended with 0; returns what is wrong, or None.
        limit_s: that it may take.
        stdin: given to it.
        environment: beside the usual one.
        programs: names of those that it may start; all else is a fault.
    """

    name: str
    arguments: tuple[str, ...]
    codes: tuple[int, ...] = REFUSED
    harmless: Callable[[str], str | None] = field(default=lambda printed: None)
    limit_s: float = 30.0
    stdin: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()


# Writes hostile files into a folder of its own and yields attacks on them, of one seed the same;
# each must find its files as they are when it is yielded.
Generator = Callable[[Path, np.random.Generator], Iterator[Attack]]


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        code: exit code; None: it was killed when its time was over.
        printed: stdout and stderr.
        started: programs that were started, and addresses that were asked for.
        written: files outside the allowed folders that were opened for writing, moved or removed.
        peak_bytes: largest resident memory.
    """

    code: int | None
    printed: str
    seconds: float
    started: list[str]
    written: list[str]
    peak_bytes: int

    def faults(self, attack: Attack) -> list[str]:
        """What must not be, in words."""
        told = []
        if self.code is None:
            told.append(f"hangs: more than {attack.limit_s:g} s")
        elif self.code not in attack.codes:
            told.append(f"exit {self.code}")
        if "Traceback" in self.printed or "bug: " in self.printed:
            told.append("traceback")
        if "memory ran out" in self.printed:
            told.append("asks for all memory")
        if any(not (sign.isprintable() or sign in "\n\t\r") for sign in self.printed):
            told.append("prints what is not printable")
        if self.started:
            told.append(f"starts {self.started[0]}")
        if self.written:
            told.append(f"touches {self.written[0]}")
        if self.peak_bytes > MOST_BYTES:
            told.append(f"takes {self.peak_bytes / (1 << 30):.1f} GiB")
        if self.code == 0 and (fault := attack.harmless(self.printed)) is not None:
            told.append(fault)
        if self.code in REFUSED and "fix: " not in self.printed and "Usage: " not in self.printed:
            told.append("no fix in the message")
        return told
