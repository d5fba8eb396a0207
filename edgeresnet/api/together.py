"""A task that several processes do together: the same call in each of them, started by torchrun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar

from edgeresnet.files.ranks import is_first, this_rank
from edgeresnet.progress import TaskContext, silent, unseen

P = ParamSpec("P")
R = TypeVar("R")


def data_parallel(task: Callable[P, R]) -> Callable[P, R]:
    """A function that, under torchrun, all processes go through together.

    The first one alone reports: the others' ``context`` or ``on_step`` tells nobody.
    """

    @wraps(task)
    def shared(*args: P.args, **kwargs: P.kwargs) -> R:
        if this_rank().count == 1:
            return task(*args, **kwargs)
        from edgeresnet.host.parallel.group import joined

        if not is_first():
            kwargs.update(_unheard(kwargs))
        with joined():
            return task(*args, **kwargs)

    return shared


def _unheard(kwargs: dict[str, object]) -> dict[str, object]:
    """What replaces the arguments that report."""
    told: dict[str, object] = {}
    if isinstance(context := kwargs.get("context"), TaskContext):
        told["context"] = replace(context, progress=False, on_step=silent, on_figures=unseen)
    told |= {"on_step": silent} if "on_step" in kwargs else {}
    told |= {"on_figures": unseen} if "on_figures" in kwargs else {}
    return told | ({"progress": False} if "progress" in kwargs else {})


def by_first(work: Callable[[], R]) -> R:
    """What the first of several processes makes while the others wait; plain values, for all."""
    if this_rank().count == 1:
        return work()
    from edgeresnet.host.parallel.processes import processes

    return processes().by_first(work)
