"""How many threads torch computes with: as many as the CPU quota pays for, the same on resume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.host.models.contention import sleeping_when_crowded
from edgeresnet.progress import OnStep

# Torch begins with what these say.
USERS_OWN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def allowed_threads() -> int:
    """Torch's own number (the machine's cores, or what the user set), within the CPU quota."""
    own = torch.get_num_threads()
    if any(name in os.environ for name in USERS_OWN):
        return own
    return min(own, default_threads())


@contextmanager
def within_quota() -> Iterator[None]:
    """A block, or a decorated function, whose threads the CPU quota pays for.

    Beside busy neighbours they sleep at barriers instead of spinning.

    Afterwards torch has as many as before.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(allowed_threads())
    try:
        with sleeping_when_crowded():
            yield
    finally:
        torch.set_num_threads(before)


def resume_threads(begun_with: int | None, on_step: OnStep) -> None:
    """Take as many threads as a training began with: what its sums round to depends on them.

    Args:
        begun_with: None where nobody wrote it down; then today's number stands.
        on_step: told where it is not the number that a training would begin with today.
    """
    today = torch.get_num_threads()
    if begun_with is None or begun_with == today:
        return
    torch.set_num_threads(begun_with)
    on_step(f"going on with {begun_with} threads, as it began; one begun today would have {today}")
