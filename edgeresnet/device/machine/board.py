"""What state a board is in: release, power mode, clocks, temperatures, throttling, memory.

Everything is read below a root folder, so a container or a test may put another one there.

Sources: NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance" (nvpmodel,
over-current events); the kernel's Documentation: driver-api/thermal/sysfs-api.rst,
admin-guide/pm/cpufreq.rst and ABI/testing/sysfs-class-devfreq.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/")
TEGRA_RELEASE = "etc/nv_tegra_release"
# Cooling devices that slow a processor down; fans, displays and mere alerts do not.
SLOWING = re.compile(r"throttle|cpufreq|devfreq|\bgpu\b|\bemc\b|^Processor$", re.I)
EVENT_COUNTERS = {
    "over-current": "sys/class/hwmon/hwmon*/oc*_event_cnt",
    "thermal": "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count",
}
MIB = 2**20


@dataclass(frozen=True)
class Clock:
    """One clock domain; the three frequencies in MHz, None where the kernel does not tell."""

    name: str
    now_mhz: float | None
    min_mhz: float | None
    max_mhz: float | None
    governor: str | None


@dataclass(frozen=True)
class BoardState:
    """What shapes a number and changes while it is measured.

    Attributes:
        power_mode: of nvpmodel; None on other machines.
        max_power_mode: number and name of the fastest that this board has.
        clocks: of processors and of devices with frequency scaling.
        temperatures_c: of each thermal zone that answers.
        throttling: what slows this machine down right now.
        throttle_events: counters since boot, by cause.
        memory: in MiB; ``unified`` says that CPU and GPU share it.
    """

    power_mode: str | None
    max_power_mode: tuple[int, str] | None
    clocks: tuple[Clock, ...]
    temperatures_c: Mapping[str, float]
    throttling: tuple[str, ...]
    throttle_events: Mapping[str, int]
    memory: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The figures of the JSON contract, with JSON's own lists."""
        plain = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}


def identity(root: Path = ROOT) -> dict[str, str]:
    """Name, releases and power mode of an embedded board; empty on other machines."""
    facts = {}
    if model := read_text(root / "proc/device-tree/model").strip("\0\n "):
        facts["model"] = model
    if l4t := l4t_release(root):
        facts["l4t"] = l4t
        if jetpack := _package_version("nvidia-jetpack", root):
            facts["jetpack"] = jetpack
        if mode := power_mode(root):
            facts["power_mode"] = mode
    return facts


def l4t_release(root: Path = ROOT) -> str | None:
    """Jetson Linux release such as ``36.4.3``; None on what is not a Jetson."""
    text = read_text(root / TEGRA_RELEASE)
    found = re.search(r"^# R(\d+) \(release\), REVISION: ([\d.]+)", text, re.M)
    if found:
        return f"{found[1]}.{found[2]}"
    # A container has the packages but not always the file.
    core = _package_version("nvidia-l4t-core", root)
    return core.split("-")[0] if core else None


def _package_version(package: str, root: Path) -> str | None:
    status = read_text(root / "var/lib/dpkg/status")
    found = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n)*?Version: (\S+)", status, re.M)
    return found[1] if found else None


def power_mode(root: Path = ROOT) -> str | None:
    """The mode that nvpmodel has set, by name; None where there is no nvpmodel."""
    try:
        answer = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    if found := re.search(r"NV Power Mode:\s*(\S+)", answer):
        return found[1]
    # Without the program (a container) its own notes tell: the mode set last, else the default.
    number = re.search(r"pmode:(\d+)", read_text(root / "var/lib/nvpmodel/status")) or re.search(
        r"<\s*PM_CONFIG\s+DEFAULT=(\d+)", read_text(root / "etc/nvpmodel.conf")
    )
    return power_modes(root).get(int(number[1])) if number else None


def power_modes(root: Path = ROOT) -> dict[int, str]:
    """Every mode that this board has, by number."""
    text = read_text(root / "etc/nvpmodel.conf")
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.M)
    return {int(number): name for number, name in found}


def max_power_mode(root: Path = ROOT) -> tuple[int, str] | None:
    """The fastest mode: MAXN in any spelling, else that with most watts, else number 0.

    The number says nothing: MAXN_SUPER is mode 2 of an Orin Nano, whose mode 0 is 15W.
    """
    modes = power_modes(root)

    def speed(number: int) -> tuple[bool, bool, int, int]:
        name = modes[number].upper()
        watts = re.search(r"(\d+)W", name)
        # MAXN_SUPER is faster than MAXN; of modes with equal watts the first is the usual one.
        return name.startswith("MAXN"), "SUPER" in name, int(watts[1]) if watts else 0, -number

    best = max(modes, key=speed, default=None)
    return None if best is None else (best, modes[best])


def board_state(root: Path = ROOT) -> BoardState:
    """What this machine is doing now; fields it does not have stay empty."""
    jetson = l4t_release(root) is not None
    return BoardState(
        power_mode(root) if jetson else None,
        max_power_mode(root) if jetson else None,
        (*_cpu_clocks(root), *_device_clocks(root)),
        _temperatures_c(root),
        (*_slowed(root), *_too_hot(root)),
        {cause: _count(root, pattern) for cause, pattern in EVENT_COUNTERS.items()},
        _memory(root, unified=jetson),
    )


def board_warnings(before: BoardState, after: BoardState) -> list[str]:
    """Why numbers measured between these states are not the board's best; empty if they are."""
    warnings = []
    best = before.max_power_mode
    if before.power_mode and best and before.power_mode != best[1]:
        warnings.append(
            f"power mode is {before.power_mode}, not {best[1]}, this board's fastest: "
            f"sudo nvpmodel -m {best[0]} sets it."
        )
    if after.power_mode != before.power_mode:
        warnings.append(f"power mode changed to {after.power_mode} while measuring.")
    warnings += throttle_warnings(before, after)
    free = [c.name for c in before.clocks if c.min_mhz is not None and c.min_mhz != c.max_mhz]
    if before.power_mode and free:
        warnings.append(
            f"clocks of {', '.join(free)} follow the load: sudo jetson_clocks holds them at their "
            "highest."
        )
    return warnings


def throttle_warnings(before: BoardState, after: BoardState) -> list[str]:
    """What slowed the board down between these states; empty if nothing did."""
    warnings = [
        f"throttled {when} measuring by {', '.join(state.throttling)}: cool the board, and measure "
        "again."
        for when, state in (("before", before), ("after", after))
        if state.throttling
    ]
    for cause, count in after.throttle_events.items():
        new = count - before.throttle_events.get(cause, 0)
        if new > 0:
            warnings.append(f"throttled {new} times while measuring, cause: {cause}.")
    return warnings


def _cpu_clocks(root: Path) -> Iterator[Clock]:
    policies = _numbered(root / "sys/devices/system/cpu/cpufreq", "policy*")
    for policy in policies:
        cpus = read_text(policy / "affected_cpus").split() or [policy.name[len("policy") :]]
        span = cpus[0] if len(cpus) == 1 else f"{cpus[0]}-{cpus[-1]}"
        now, low, high = (
            _scaled(policy / f"scaling_{key}_freq", 1e-3) for key in ("cur", "min", "max")
        )
        governor = read_text(policy / "scaling_governor").strip() or None
        yield Clock(f"cpu{span}", now, low, high, governor)


def _device_clocks(root: Path) -> Iterator[Clock]:
    for device in _numbered(root / "sys/class/devfreq", "*"):
        now, low, high = (_scaled(device / f"{key}_freq", 1e-6) for key in ("cur", "min", "max"))
        governor = read_text(device / "governor").strip() or None
        yield Clock(device.name, now, low, high, governor)


def _temperatures_c(root: Path) -> dict[str, float]:
    found = {}
    for zone in _numbered(root / "sys/class/thermal", "thermal_zone*"):
        # A zone whose unit is switched off answers with an error: it has no temperature.
        temperature = _scaled(zone / "temp", 1e-3)
        if temperature is not None:
            found[read_text(zone / "type").strip() or zone.name] = temperature
    return found


def _slowed(root: Path) -> Iterator[str]:
    for device in _numbered(root / "sys/class/thermal", "cooling_device*"):
        kind = read_text(device / "type").strip()
        if SLOWING.search(kind) and (_scaled(device / "cur_state", 1) or 0) > 0:
            yield kind


def _too_hot(root: Path) -> Iterator[str]:
    for zone in _numbered(root / "sys/class/thermal", "thermal_zone*"):
        now = _scaled(zone / "temp", 1e-3)
        trips = [
            limit
            for kind in zone.glob("trip_point_*_type")
            if read_text(kind).strip() == "passive"
            and (limit := _scaled(kind.with_name(kind.name[: -len("type")] + "temp"), 1e-3))
        ]
        if now is not None and trips and now >= min(trips):
            yield f"{read_text(zone / 'type').strip()} at {now:.0f} °C (limit {min(trips):.0f})"


def _count(root: Path, pattern: str) -> int:
    return int(sum(_scaled(path, 1) or 0 for path in root.glob(pattern)))


def _memory(root: Path, *, unified: bool) -> dict[str, Any]:
    text = read_text(root / "proc/meminfo")
    figures = {key: int(kb) * 1024 for key, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    memory: dict[str, Any] = {"unified": unified}
    for name, key in (("total_mib", "MemTotal"), ("available_mib", "MemAvailable")):
        if key in figures:
            memory[name] = round(figures[key] / MIB)
    if {"SwapTotal", "SwapFree"} <= figures.keys():
        memory["swap_used_mib"] = round((figures["SwapTotal"] - figures["SwapFree"]) / MIB)
    # What the GPU and the other engines hold of it; only root may read this.
    clients = read_text(root / "sys/kernel/debug/nvmap/iovmm/clients")
    if total := re.search(r"^total\s+(\d+)K", clients, re.M):
        memory["gpu_mib"] = round(int(total[1]) / 1024)
    return memory


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """In the order of their numbers, so that zone 10 follows zone 9."""

    def key(path: Path) -> tuple[int, str]:
        digits = re.search(r"(\d+)$", path.name)
        return (int(digits[1]) if digits else 0, path.name)

    return sorted(folder.glob(pattern), key=key)


def _scaled(path: Path, factor: float) -> float | None:
    """The file's number times ``factor``; None if it has none to read."""
    try:
        return int(read_text(path)) * factor
    except ValueError:
        return None


def read_text(path: Path) -> str:
    """The file's text; empty if there is none to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
