"""The processors that a measurement runs on."""

from __future__ import annotations

import os
import threading

import pytest

from edgeresnet.device.machine.affinity import on_cpus
from edgeresnet.device.machine.environment import environment
from edgeresnet.errors import InputError

LINUX = hasattr(os, "sched_setaffinity")


@pytest.mark.skipif(not LINUX, reason="processes have no affinity on this system")
def test_on_cpus_binds_new_threads_and_takes_it_back() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    seen: list[set[int]] = []
    with on_cpus(f"{one}-{one}"):
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
        assert environment()["affinity"] == [one]
    assert seen == [{one}]
    assert os.sched_getaffinity(0) == before
    with on_cpus(None):
        assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not LINUX, reason="processes have no affinity on this system")
@pytest.mark.parametrize("cpus", ["", "x", "3-1", "1,,2", "-1", "0;1"])
def test_on_cpus_refuses_what_is_no_list(cpus: str) -> None:
    with pytest.raises(InputError, match="is no list of processors"), on_cpus(cpus):
        pass


@pytest.mark.skipif(not LINUX, reason="processes have no affinity on this system")
def test_on_cpus_refuses_processors_that_are_not_there() -> None:
    missing = max(os.sched_getaffinity(0)) + 1
    with pytest.raises(InputError, match=f"may not use: {missing}"), on_cpus(f"0-{missing}"):
        pass
