"""Sensors of power and energy: INA3221 (Jetson), RAPL (x86), NVML (NVIDIA GPUs elsewhere).

Sources: the kernel's Documentation/hwmon/ina3221.rst and power/powercap/powercap.rst; NVIDIA's
Jetson Linux Developer Guide, "Platform Power and Performance" (rails, and the older layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgeresnet.device.machine.board import ROOT, read_text

NO_SENSOR = (
    "no sensor of power or energy here: this system shows neither INA3221 (Jetson) nor RAPL (x86), "
    "and no NVIDIA GPU ran the model."
)
# The rail that all others hang on, where a board has one; else the sensors' rails are summed.
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")


class Meter(Protocol):
    """A sensor of power or energy.

    Attributes:
        name: for the reader of a result, with the rails.
        kind: ``power``: `read` gives watts at this moment; ``energy``: joules since some start.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["power", "energy"]: ...

    def read(self) -> float:
        """One reading, W or J; OSError if the sensor does not answer."""
        ...


@dataclass(frozen=True)
class Rail:
    """Files of one channel of an INA3221: power in mW, or voltage in mV and current in mA."""

    label: str
    power_path: Path | None
    voltage_path: Path
    current_path: Path

    def power_w(self) -> float:
        """Power at this moment."""
        if self.power_path is not None:
            return _number(self.power_path) * 1e-3
        millivolts, milliamperes = (_number(p) for p in (self.voltage_path, self.current_path))
        return millivolts * milliamperes * 1e-6


class RailMeter:
    """The INA3221 sensors of a Jetson: the total rail, or the sum of all."""

    kind: Literal["power", "energy"] = "power"

    def __init__(self, rails: Sequence[Rail]) -> None:
        total = [rail for rail in rails if rail.label in TOTAL_RAILS]
        self._rails = total[:1] or list(rails)
        self.name = "ina3221 " + "+".join(rail.label for rail in self._rails)

    def read(self) -> float:
        """Power in watts, now."""
        return sum(rail.power_w() for rail in self._rails)


class RaplMeter:
    """Energy counters of x86 processors: packages, and memory where it is counted apart."""

    kind: Literal["power", "energy"] = "energy"

    def __init__(self, domains: Sequence[Path]) -> None:
        self.name = "rapl " + "+".join(read_text(d / "name").strip() for d in domains)
        self._counters = [d / "energy_uj" for d in domains]
        self._ranges = [int(read_text(d / "max_energy_range_uj") or 0) for d in domains]
        self._last = [_number(path) for path in self._counters]
        self._total_uj = 0

    def read(self) -> float:
        """Joules since construction; counters that wrapped in between are unrolled."""
        for i, path in enumerate(self._counters):
            now = _number(path)
            step = now - self._last[i]
            self._total_uj += step + self._ranges[i] if step < 0 else step
            self._last[i] = now
        return self._total_uj * 1e-6


class NvmlMeter:
    """A desktop or server NVIDIA GPU, by its driver's own library."""

    kind: Literal["power", "energy"] = "power"

    def __init__(self, index: int = 0) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.name = f"nvml {pynvml.nvmlDeviceGetName(self._gpu)}"

    def read(self) -> float:
        """Watts of the whole board; the driver averages over up to a second."""
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._gpu)) * 1e-3
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error


def find_meter(root: Path = ROOT, *, nvidia_gpu: bool = False) -> tuple[Meter | None, str | None]:
    """The meter for what is measured.

    Args:
        root: where sys/ lies.
        nvidia_gpu: the model runs on a GPU with its own memory, if the machine is no Jetson.

    Returns:
        The meter and None, or None and how to get at one that is there; (None, None) where there
        is none.
    """
    if rails := find_rails(root):
        return RailMeter(rails), None
    if nvidia_gpu:
        return _nvml_meter()
    domains = find_rapl(root)
    if not domains:
        return None, None
    try:
        return RaplMeter(domains), None
    except OSError as error:
        return None, (
            f"no energy figures, because the processor's counters are closed ({error.strerror}): "
            "sudo chmod a+r /sys/class/powercap/*/energy_uj opens them until the next start."
        )


def _nvml_meter() -> tuple[Meter | None, str | None]:
    try:
        meter = NvmlMeter()
        meter.read()
    except ImportError:
        return None, "no energy figures: pip install 'edgeresnet[nvml]'"
    except Exception as error:
        # The library's errors have a base class of their own, which only exists when it is there.
        if not type(error).__module__.startswith("pynvml") and not isinstance(error, OSError):
            raise
        return None, f"no energy figures: this GPU's driver does not tell its power ({error})."
    return meter, None


def find_rails(root: Path = ROOT) -> list[Rail]:
    """Channels of all INA3221 sensors, in the layout of JetPack 5 and later, or of JetPack 4."""
    rails = []
    for name_path in sorted((root / "sys/bus/i2c/devices").glob("*/name")):
        if read_text(name_path).strip().startswith("ina3221"):
            device = name_path.parent
            for folder in sorted(device.glob("hwmon/hwmon*")):
                rails += _hwmon_rails(folder)
            for folder in sorted(device.glob("iio:device*")):
                rails += _iio_rails(folder)
    return rails


def _hwmon_rails(folder: Path) -> list[Rail]:
    rails = []
    # Channels 1 to 3; in4 to in7 are shunt voltages and their sum.
    for n in (1, 2, 3):
        label = read_text(folder / f"in{n}_label").strip()
        connected = label and label != "NC" and read_text(folder / f"in{n}_enable").strip() != "0"
        if connected:
            rails.append(Rail(label, None, folder / f"in{n}_input", folder / f"curr{n}_input"))
    return rails


def _iio_rails(folder: Path) -> list[Rail]:
    rails = []
    for n in (0, 1, 2):
        label = read_text(folder / f"rail_name_{n}").strip()
        if label and label != "NC":
            rails.append(
                Rail(
                    label,
                    folder / f"in_power{n}_input",
                    folder / f"in_voltage{n}_input",
                    folder / f"in_current{n}_input",
                )
            )
    return rails


def find_rapl(root: Path = ROOT) -> list[Path]:
    """Domains that add up to what the processors and their memory use."""
    domains = []
    for package in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        # A package's parts (intel-rapl:0:1) are inside it, but for the memory.
        depth = package.name.count(":")
        name = read_text(package / "name").strip()
        if (depth == 1 and name.startswith("package")) or (depth == 2 and name == "dram"):
            domains.append(package)
    return domains


def _number(path: Path) -> int:
    """The number in a sensor's file; OSError if there is none."""
    text = path.read_text()
    try:
        return int(text)
    except ValueError as error:
        raise OSError(f"{path} reads {text.strip()!r}, which is no number") from error
