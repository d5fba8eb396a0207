"""Other load, quotas and swapped memory, by recorded files of /proc."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgeresnet.device.machine.load import Load, load_findings, others_between, read_load
from tests.jetson import write_tree

TICKS = os.sysconf("SC_CLK_TCK")
# Of a machine with 4 processors and swap, of which this program may use two.
RECORDED = {
    "proc/stat": (
        "cpu  40000 0 4000 900000 100 0 200 50 0 0\n"
        "cpu0 10000 100 1000 225000 25 10 50 20 0 0\n"
        "cpu1 10000 0 1000 225000 25 0 50 10 0 0\n"
        "cpu2 99999 0 1000 225000 25 0 50 10 0 0\n"
        "cpu3 99999 0 1000 225000 25 0 50 10 0 0\n"
        "intr 1 2 3\n"
    ),
    "proc/self/stat": "77 (a (b) c) S 1 77 77 0 -1 4194304 9 0 0 0 1500 500 0 0 20 0 4 0 9 9 9\n",
    "proc/78/stat": "78 (worker) R 77 77 77 0 -1 4194304 9 0 0 0 300 100 0 0 20 0 4 0 9 9 9\n",
    "proc/self/status": "Name:\tx\nVmSwap:\t       0 kB\nCpus_allowed_list:\t0-1\n",
    "proc/78/status": "Name:\tx\nVmSwap:\t    2048 kB\n",
    "proc/vmstat": "pswpin 100\npswpout 4000\n",
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 9\nnr_periods 10\nnr_throttled 3\n",
    "sys/devices/system/cpu/online": "0-3\n",
}


def load(**changed: object) -> Load:
    quiet = Load(100.0, 2, 50.0, 1.0, 20.0, 0, 0, 0)
    return replace(quiet, **changed)  # type: ignore[arg-type]


def words(before: Load, after: Load) -> list[str]:
    return [word for word, _ in load_findings(before, after)]


def test_read_load_counts_what_this_program_may_use_and_has_used(tmp_path: Path) -> None:
    found = read_load(write_tree(tmp_path, RECORDED), pids=[78])
    assert found.cores == 2
    assert found.busy_s == pytest.approx((10000 + 100 + 1000 + 10 + 50 + 11050) / TICKS)
    assert found.stolen_s == pytest.approx(30 / TICKS)
    assert found.own_s == pytest.approx(2400 / TICKS)
    assert (found.quota_stops, found.swapped_kib, found.swapped_in_pages) == (3, 2048, 100)


def test_read_load_knows_nothing_where_the_system_does_not_tell(tmp_path: Path) -> None:
    found = read_load(tmp_path)
    assert (found.busy_s, found.own_s, found.quota_stops, found.swapped_kib) == (None,) * 4
    assert others_between(found, replace(found, clock_s=found.clock_s + 1)) is None
    assert load_findings(found, replace(found, clock_s=found.clock_s + 1)) == []


def test_nothing_is_found_when_the_program_did_all_of_the_work_itself() -> None:
    assert words(load(), load(clock_s=110.0, busy_s=69.0, own_s=39.0)) == []


@pytest.mark.parametrize(("busy_s", "found"), [(71.5, []), (72.5, ["load"])])
def test_other_load_is_what_the_program_did_not_do(busy_s: float, found: list[str]) -> None:
    # In ten seconds 1.5, or 2.5, of twenty that two processors have.
    assert words(load(), load(clock_s=110.0, busy_s=busy_s, own_s=40.0)) == found


def test_a_tick_of_a_short_measurement_is_no_load() -> None:
    assert words(load(), load(clock_s=100.1, busy_s=50.04)) == []


def test_a_hypervisor_that_takes_time_is_named() -> None:
    ((word, cause),) = load_findings(load(), load(clock_s=110.0, stolen_s=6.0))
    assert word == "load"
    assert "the hypervisor gave 0.5 of 2 processors to others" in cause


def test_a_quota_that_stops_the_program_is_named() -> None:
    ((word, cause),) = load_findings(load(), load(clock_s=110.0, quota_stops=7))
    assert word == "quota"
    assert "stopped this program 7 times" in cause


def test_swapped_memory_is_named_by_recorded_files(tmp_path: Path) -> None:
    root = write_tree(tmp_path, RECORDED)
    before = read_load(root)
    assert load_findings(before, read_load(root)) == []
    write_tree(root, {"proc/vmstat": "pswpin 900\npswpout 4000\n"})
    ((word, cause),) = load_findings(before, replace(read_load(root), clock_s=before.clock_s + 10))
    assert word == "swapped"
    assert "the system read 800 pages back from swap while measuring" in cause
    own = read_load(root, pids=[78])
    assert load_findings(own, own) == [
        (
            "swapped",
            "2.0 MiB of this program's memory are swapped out: free memory (free -m), and measure "
            "again.",
        )
    ]
