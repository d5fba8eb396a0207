"""How many threads pay here: the affinity mask and the CPU quota of the control groups.

Never the load: a number that changes with the neighbours would change what sums round to.
Everything is read below a root folder, so a test may put another one there.

Sources: the kernel's Documentation: admin-guide/cgroup-v2.rst (``cpu.max``),
scheduler/sched-bwc.rst (``cpu.cfs_quota_us``), admin-guide/cputopology.rst; proc(5) for ``cgroup``,
``mountinfo`` and ``status``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgeresnet.device.machine.board import ROOT, read_text

CPUS = "sys/devices/system/cpu"


def cpu_quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that the control groups allow; None where they set no limit."""
    limits = (_limit(group) for group in control_groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def usable_cores(root: Path = ROOT) -> int:
    """Logical processors that the affinity mask leaves to this process; cpusets are part of it."""
    return len(allowed_cpus(root))


def default_threads(root: Path = ROOT) -> int:
    """Threads for work of our own: no more than the affinity mask and the CPU quota leave.

    A broken quota is rounded down: the kernel would stop one thread more for a part of every
    period, and the others wait for it at their next barrier.
    """
    quota = cpu_quota(root)
    cores = usable_cores(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def runtime_threads(asked: int | None = None, root: Path = ROOT) -> int | None:
    """Threads to give a runtime that would by itself take every core of the machine.

    Args:
        asked: what the user wants; it stands.
        root: where sys/ and proc/ of the machine lie.

    Returns:
        None leaves the choice to the runtime: where this process may use the whole machine, the
        runtime knows best how to lay its threads on the cores.
    """
    if asked is not None:
        return asked
    allowed = min(_physical(allowed_cpus(root), root), default_threads(root))
    return allowed if allowed < _physical(_online(root), root) else None


def allowed_cpus(root: Path) -> set[int]:
    """Numbers of the logical processors that this process may use."""
    text = read_text(root / "proc/self/status")
    listed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", text, re.M)
    if listed:
        # The kernel lists processors that may one day be plugged in, too.
        return _numbers(listed[1]) & _online(root) or _numbers(listed[1])
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return _online(root)


def control_groups(root: Path) -> Iterator[Path]:
    """Folders of this process's control groups that share out the CPU, and of all above them."""
    own: dict[str, str] = {}
    for line in read_text(root / "proc/self/cgroup").splitlines():
        # The second version's one hierarchy names no controllers.
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if controller is None or (controller and controller not in options.split(",")):
            continue
        mounted, place = (_unescaped(text) for text in mount.split(" ")[3:5])
        yield from _lineage(root / place.lstrip("/"), own.get(controller, mounted), mounted)


def _lineage(top: Path, own: str, mounted: str) -> Iterator[Path]:
    """From the top of a hierarchy, as far as it is mounted here, down to the group ``own``."""
    try:
        parts = PurePosixPath(own).relative_to(mounted).parts
    except ValueError:
        parts = ("..",)
    # A container may see no more than its own group, at the top, and be told of the way outside.
    if ".." in parts:
        parts = ()
    for depth in range(len(parts) + 1):
        yield top.joinpath(*parts[:depth])


def _limit(group: Path) -> float | None:
    words = read_text(group / "cpu.max").split() or [
        read_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
    ]
    try:
        quota, period = map(int, words)
    except ValueError:
        # "max", or a group that has no such file.
        return None
    return quota / period if quota > 0 and period > 0 else None


def _online(root: Path) -> set[int]:
    return _numbers(read_text(root / CPUS / "online").strip()) or set(range(os.cpu_count() or 1))


def _physical(cpus: set[int], root: Path) -> int:
    """Cores behind logical processors: those that share one count once."""
    siblings = "topology/thread_siblings_list"
    return len({read_text(root / CPUS / f"cpu{n}" / siblings).strip() or str(n) for n in cpus})


def _numbers(text: str) -> set[int]:
    """``0-2,5`` as {0, 1, 2, 5}."""
    spans = re.findall(r"(\d+)(?:-(\d+))?", text)
    return {n for first, last in spans for n in range(int(first), int(last or first) + 1)}


def _unescaped(text: str) -> str:
    r"""mountinfo writes a space as ``\040``."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)
