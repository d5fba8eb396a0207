"""The processes that work on one task together; one alone is the usual case, and needs nothing.

Several all go through the same code on the same data, each computes its share, and what they find
is put together where the code says so by a method of `Processes`. Control never depends on what
one of them found by itself: it is asked `by_first`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class Processes(Protocol):
    """All processes of a task, seen from one of them.

    Each method but `passing` and `normalizing` is called by all of them, in the same order.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0 on."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on the device of ``tensor``, which stays as it is."""
        ...

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest of all processes, element by element."""
        ...

    def by_first(self, work: Callable[[], T]) -> T:
        """What the first process makes, alone, while the others wait: plain values, for all."""
        ...

    def same_weights(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers, in place."""
        ...

    def averaging(self, model: nn.Module) -> nn.Module:
        """A network whose gradients are the mean over all processes; it shares the parameters."""
        ...

    def passing(
        self, network: nn.Module, *, last: bool
    ) -> contextlib.AbstractContextManager[object]:
        """Around a forward and a backward pass of `averaging`; only the last one's averages."""
        ...

    def normalizing(self) -> contextlib.AbstractContextManager[object]:
        """A block in which batch normalization sees the images of all processes."""
        ...


class OneProcess:
    """A process that is alone."""

    rank, count = 0, 1

    def total(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def by_first(self, work: Callable[[], T]) -> T:
        """What it makes."""
        return work()

    def same_weights(self, model: nn.Module) -> None:
        """Nothing."""

    def averaging(self, model: nn.Module) -> nn.Module:
        """The network itself."""
        return model

    def passing(
        self, network: nn.Module, *, last: bool
    ) -> contextlib.AbstractContextManager[object]:
        """Nothing."""
        return contextlib.nullcontext()

    def normalizing(self) -> contextlib.AbstractContextManager[object]:
        """Nothing."""
        return contextlib.nullcontext()


ONE: Processes = OneProcess()
_current: Processes = ONE


def processes() -> Processes:
    """Those that work on the present task."""
    return _current


@contextlib.contextmanager
def working_as(present: Processes) -> Iterator[None]:
    """A block whose work these processes share."""
    global _current
    before, _current = _current, present
    try:
        yield
    finally:
        _current = before


def own_places(images: int, batch_size: int, *, of: Processes) -> list[int]:
    """Which images of a set, in order, this process reads: whole batches, by turns.

    In whole batches, so that each image is computed in the company that it has in one process.
    """
    starts = range(of.rank * batch_size, images, of.count * batch_size)
    return [place for start in starts for place in range(start, min(start + batch_size, images))]


def own_of_step(images: int, parts: int, *, of: Processes) -> list[range]:
    """Which images of a training step this process computes, part by part.

    Each part is divided among all processes, as evenly as it can be.

    Args:
        images: of the whole step.
        parts: that its images are computed in at most; each has two images or more in it.
        of: the processes; with fewer images than processes some have none.
    """
    parts = max(1, min(parts, images // max(2, of.count)))
    places = []
    for part in range(parts):
        start, stop = _cut(images, parts, part)
        first, last = _cut(stop - start, of.count, of.rank)
        places.append(range(start + first, start + last))
    return places


def _cut(items: int, pieces: int, place: int) -> tuple[int, int]:
    """Where one of several pieces begins and ends; the first ones are longer by one."""
    size, longer = divmod(items, pieces)
    start = place * size + min(place, longer)
    return start, start + size + (place < longer)
