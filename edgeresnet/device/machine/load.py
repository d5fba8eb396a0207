"""What else a machine did while something was measured: other load, quotas, swapped memory.

Everything is read below a root folder, so a test may put another one there.

Sources: proc(5) for ``stat``, ``[pid]/stat``, ``[pid]/status`` and ``vmstat``; the kernel's
Documentation, admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst (``cpu.stat``).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeresnet.device.machine.board import ROOT, read_text
from edgeresnet.device.machine.cpu import allowed_cpus, control_groups

# Places in a line of /proc/stat behind the processor's name.
_BUSY, _STEAL = (0, 1, 2, 5, 6), 7
# Of others' work, in processors: half of one, and less where there are few.
MOST_OTHERS, OTHERS_SHARE = 0.5, 0.1
# The kernel counts in ticks of 10 ms: what is less than so many seconds may be one of them.
LEAST_S = 0.1
# In pages; some were written out long ago and nobody misses them.
SWAPPED_PAGES = 16


@dataclass(frozen=True)
class Load:
    """Counters at one moment; None where this system does not tell.

    Attributes:
        clock_s: when it was read.
        cores: processors that this process may use.
        busy_s: time that these have worked since the start of the system, for anybody.
        stolen_s: time that a hypervisor has given to others.
        own_s: time that the processes in question have worked.
        quota_stops: how often the CPU quota of a control group has stopped them.
        swapped_kib: memory of theirs that is swapped out.
        swapped_in_pages: pages that the whole system has read back.
    """

    clock_s: float
    cores: int
    busy_s: float | None
    stolen_s: float | None
    own_s: float | None
    quota_stops: int | None
    swapped_kib: int | None
    swapped_in_pages: int | None


def read_load(root: Path = ROOT, pids: Sequence[int] = ()) -> Load:
    """The counters now.

    Args:
        root: where proc/ and sys/ lie.
        pids: processes whose work is no other load, beside this one.
    """
    cpus = allowed_cpus(root)
    busy_s, stolen_s = _processors(root, cpus)
    own = [root / "proc" / name for name in ("self", *map(str, pids))]
    swapped = [_number(r"^VmSwap:\s+(\d+) kB", folder / "status") for folder in own]
    told = [kib for kib in swapped if kib is not None]
    return Load(
        time.monotonic(),
        len(cpus),
        busy_s,
        stolen_s,
        _own_s(own),
        _quota_stops(root),
        sum(told) if told else None,
        _number(r"^pswpin (\d+)", root / "proc/vmstat"),
    )


@dataclass(frozen=True)
class Others:
    """Work that others did between two readings, in processors."""

    processes: float
    hypervisor: float


def others_between(before: Load, after: Load) -> Others | None:
    """Processors' worth of time that went to others; None where this system does not tell."""
    seconds = after.clock_s - before.clock_s
    if before.busy_s is None or after.busy_s is None or seconds <= 0:
        return None
    own = (after.own_s or 0.0) - (before.own_s or 0.0)
    stolen = (after.stolen_s or 0.0) - (before.stolen_s or 0.0)
    return Others(
        max(0.0, after.busy_s - before.busy_s - own) / seconds, max(0.0, stolen) / seconds
    )


def load_findings(before: Load, after: Load) -> list[tuple[str, str]]:
    """(word, sentence) of what others and this system did to a measurement; none on a quiet one.

    Words: ``swapped``, ``quota`` and ``load``.
    """
    findings = []
    # Swapped already and swapped in meanwhile are both reasons: the next run may touch it.
    if (kib := after.swapped_kib) and kib * 1024 > SWAPPED_PAGES * 4096:
        findings.append(
            (
                "swapped",
                f"{kib / 1024:.1f} MiB of this program's memory are swapped out: free memory "
                "(free -m), and measure again.",
            )
        )
    read_back = _more(before.swapped_in_pages, after.swapped_in_pages)
    if read_back > SWAPPED_PAGES:
        findings.append(
            (
                "swapped",
                f"the system read {read_back} pages back from swap while measuring: free memory "
                "(free -m), and measure again.",
            )
        )
    if stops := _more(before.quota_stops, after.quota_stops):
        findings.append(
            (
                "quota",
                f"the CPU quota of a control group stopped this program {stops} times while "
                "measuring: give it more, or fewer --threads.",
            )
        )
    return [*findings, *_others_findings(before, after)]


def _others_findings(before: Load, after: Load) -> list[tuple[str, str]]:
    others, seconds = others_between(before, after), after.clock_s - before.clock_s
    if others is None:
        return []
    most = min(MOST_OTHERS, OTHERS_SHARE * after.cores)
    texts = (
        (
            others.processes,
            "other programs took {0:.1f} of {1} processors while measuring: end them (top shows "
            "which), and measure again.",
        ),
        (
            others.hypervisor,
            "the hypervisor gave {0:.1f} of {1} processors to others while measuring: measure on a "
            "machine of your own.",
        ),
    )
    return [
        ("load", text.format(taken, after.cores))
        for taken, text in texts
        if taken >= most and taken * seconds >= LEAST_S
    ]


def _processors(root: Path, cpus: set[int]) -> tuple[float | None, float | None]:
    """Seconds that these processors have worked, and that were stolen from them."""
    lines = re.findall(r"^cpu(\d+) (.+)$", read_text(root / "proc/stat"), re.M)
    fields = [[int(word) for word in text.split()] for cpu, text in lines if int(cpu) in cpus]
    if not fields or any(len(one) <= _STEAL for one in fields):
        return None, None
    ticks = _ticks_per_second()
    busy = sum(one[place] for one in fields for place in _BUSY)
    return busy / ticks, sum(one[_STEAL] for one in fields) / ticks


def _own_s(folders: Sequence[Path]) -> float | None:
    """Seconds that these processes have worked, in all of their threads; None where untold."""
    ticks = []
    for folder in folders:
        # Behind the name in brackets, which may hold anything: state, 10 more, user, system.
        words = read_text(folder / "stat").rpartition(")")[2].split()
        if len(words) > 12:
            ticks.append(int(words[11]) + int(words[12]))
    return sum(ticks) / _ticks_per_second() if ticks else None


def _quota_stops(root: Path) -> int | None:
    stops = [_number(r"^nr_throttled (\d+)", group / "cpu.stat") for group in control_groups(root)]
    told = [one for one in stops if one is not None]
    return max(told) if told else None


def _more(before: int | None, after: int | None) -> int:
    return max(0, after - before) if before is not None and after is not None else 0


def _number(pattern: str, path: Path) -> int | None:
    found = re.search(pattern, read_text(path), re.M)
    return int(found[1]) if found else None


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
