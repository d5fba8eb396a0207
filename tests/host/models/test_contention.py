"""Spinning ends while threads wait for processors, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeresnet.host.models import contention
from edgeresnet.host.models.contention import crowded, sleeping_when_crowded


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    ("after", "expected"),
    [((1000, 50), False), ((1000, 500), True), ((0, 0), False), ((-5, -5), False)],
)
def test_crowded_is_a_share_of_the_time_waited(after: tuple[int, int], expected: bool) -> None:
    assert crowded((0, 0), after) is expected


def test_a_further_team_is_kept_while_crowded_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in contention.USERS_OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(contention, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(contention, "HOLD_S", 0.1)
    neighbours = True
    clock = [0]

    def times() -> tuple[int, int]:
        clock[0] += 100
        return clock[0], clock[0] if neighbours else 0

    monkeypatch.setattr(contention, "_times_ns", times)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(contention.ELEMENTS).add_(1)
        alone = len(list(Path("/proc/self/task").iterdir()))
        with sleeping_when_crowded():
            # The watcher, the team's first thread and its second.
            assert until(lambda: len(list(Path("/proc/self/task").iterdir())) >= alone + 3)
            neighbours = False
            assert until(lambda: len(list(Path("/proc/self/task").iterdir())) == alone + 1)
        assert until(lambda: len(list(Path("/proc/self/task").iterdir())) == alone)
    finally:
        torch.set_num_threads(before)
