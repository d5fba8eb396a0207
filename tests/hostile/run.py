"""Runs attacks one after the other, and writes the table of what came of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.copies import Copy
from tests.hostile.attack import Attack, Generator, Outcome

SENTINEL = "not to be touched\n"


@dataclass(frozen=True)
class Row:
    """One attack and its outcome."""

    item: str
    attack: Attack
    outcome: Outcome
    faults: list[str]


class Server:
    """Forks a process for each attack."""

    def __init__(self, copy: Copy, room: Path) -> None:
        self._copy, self._room = copy, room

    def run(self, attack: Attack, folder: Path) -> Outcome:
        """What comes of it, in a folder of hostile files."""
        log = self._room / "log"
        log.mkdir(exist_ok=True)
        job = {
            "arguments": attack.arguments,
            "folder": str(folder),
            "allowed": [str(folder), str(self._room / "cache"), str(self._room / "tmp")],
            "limit_s": attack.limit_s,
            "stdin": attack.stdin,
            "environment": attack.environment,
            "programs": attack.programs,
            "log": str(log),
        }
        return Outcome(**json.loads(self._copy.answer(json.dumps(job))))


@contextmanager
def serving(room: Path) -> Iterator[Server]:
    """A server whose cache, home and temporary folder are in ``room``."""
    for name in ("cache", "tmp", "home"):
        (room / name).mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(room / "cache"),
        "TMPDIR": str(room / "tmp"),
        "HOME": str(room / "home"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with Copy("tests.hostile.server:main", env=environment, cwd=Path(__file__).parents[2]) as copy:
        yield Server(copy, room)


def run_item(
    server: Server,
    item: str,
    generator: Generator,
    room: Path,
    seed: int,
    every: int = 1,
) -> list[Row]:
    """All attacks of an item, or one of so many.

    Args:
        every: of which attacks following each other one is tried.
        room: ``room/outside`` is where hostile files may point to; nothing there may change.
    """
    folder, outside = room / item / "here", room / item / "outside"
    folder.mkdir(parents=True)
    outside.mkdir()
    (outside / "sentinel").write_text(SENTINEL)
    rows: list[Row] = []
    for number, attack in enumerate(generator(folder, np.random.default_rng(seed))):
        if number % every != every // 2:
            continue
        outcome = server.run(attack, folder)
        faults = outcome.faults(attack)
        left = sorted(path.name for path in outside.rglob("*"))
        if left != ["sentinel"] or (outside / "sentinel").read_text() != SENTINEL:
            faults.append(f"changes what lies outside: {left}")
            for path in outside.iterdir():
                path.unlink()
            (outside / "sentinel").write_text(SENTINEL)
        rows.append(Row(item, attack, outcome, faults))
    names = [row.attack.name for row in rows]
    assert len(set(names)) == len(names), "two attacks of one name"
    return rows


def table(rows: list[Row]) -> str:
    """Of each item: how many inputs, how they ended, and what must be 0."""
    heads = ("refused", "harmless", "faults", "slowest s", "most MiB")
    lines = [f"{'item':14} {'inputs':>6} " + " ".join(f"{head:>9}" for head in heads)]
    for item in dict.fromkeys(row.item for row in rows):
        own = [row for row in rows if row.item == item]
        cells = (
            sum(row.outcome.code not in (0, None) for row in own),
            sum(row.outcome.code == 0 for row in own),
            sum(bool(row.faults) for row in own),
            round(max(row.outcome.seconds for row in own), 1),
            max(row.outcome.peak_bytes for row in own) >> 20,
        )
        lines.append(f"{item:14} {len(own):6} " + " ".join(f"{cell:>9}" for cell in cells))
    return "\n".join([*lines, f"{'all':14} {len(rows):6}"])
