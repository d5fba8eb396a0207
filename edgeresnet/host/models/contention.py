"""OpenMP's threads spin at barriers while the machine is ours, and sleep while neighbours are busy.

Spinning is best on an idle machine and ruinous on a shared one, where it burns the time that the
thread that all wait for needs. GNU's library spins a hundred turns only "if there are more OpenMP
threads than available CPUs" (its manual, GOMP_SPINCOUNT). So while this process's threads wait for
processors, a further team of them is kept, asleep; it computes nothing, and no sum changes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from edgeresnet.device.machine.board import read_text
from edgeresnet.device.machine.process_environment import GNU_SPINNING, POLICY

TASKS = Path("/proc/self/task")
LOOK_EVERY_S = 0.25
# Of the time in which the threads could have run, the share that they waited for a processor.
CROWDED = 0.1
# After so long it is tried whether the neighbours have gone; twice as long after each failure.
HOLD_S, LONGEST_HOLD_S = 4.0, 60.0
# What a user has set stands.
USERS_OWN = (POLICY, GNU_SPINNING)
# Enough for torch to take all its threads.
ELEMENTS = 1 << 20

_watched = threading.Lock()


@contextmanager
def sleeping_when_crowded() -> Iterator[None]:
    """Watch over a block of computing; nothing happens where the kernel tells no waiting times."""
    spinning = torch.get_num_threads() > 1 and not any(name in os.environ for name in USERS_OWN)
    if not spinning or _times_ns() == (0, 0) or not _watched.acquire(blocking=False):
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ended,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        _watched.release()


def crowded(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether threads waited for processors between two looks at (running, waiting) times."""
    ran, waited = (max(0, late - early) for early, late in zip(before, after, strict=True))
    return waited > CROWDED * (ran + waited)


def _watch(ended: threading.Event) -> None:
    hold_s = HOLD_S
    before = _times_ns()
    while not ended.wait(LOOK_EVERY_S):
        after = _times_ns()
        if crowded(before, after):
            with _further_team():
                ended.wait(hold_s)
            hold_s = min(2 * hold_s, LONGEST_HOLD_S)
            after = _times_ns()
        else:
            hold_s = HOLD_S
        before = after


def _times_ns() -> tuple[int, int]:
    """Time that this process's threads ran, and that they waited for a processor, so far."""
    ran = waited = 0
    for path in TASKS.glob("*/schedstat"):
        words = read_text(path).split()
        if len(words) == 3:
            ran, waited = ran + int(words[0]), waited + int(words[1])
    return ran, waited


@contextmanager
def _further_team() -> Iterator[None]:
    ended = threading.Event()

    def keep() -> None:
        torch.ones(ELEMENTS).add_(1)
        ended.wait()

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
