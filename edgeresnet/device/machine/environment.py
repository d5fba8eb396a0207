"""What machine this is: processor, memory, power mode, versions."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeresnet.device.machine.board import ROOT, board_state, identity, read_text
from edgeresnet.device.machine.cpu import allowed_cpus, cpu_quota, usable_cores
from edgeresnet.device.machine.process_environment import openmp_waiting

# Instructions that decide how fast integer kernels are.
INTEGER_FLAGS = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
FLAGS = ("avx2", "avx512f", "asimd", *INTEGER_FLAGS)
PACKAGES = (
    "edgeresnet",
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxruntime-qnn",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "numpy",
    "pillow",
)
# Of a machine that does not tell how much memory it has.
USUAL_MIB = 8192


def cpu_name(root: Path = ROOT) -> str:
    """The processor's own name for itself."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", read_text(root / "proc/cpuinfo"), re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_flags(root: Path = ROOT) -> list[str]:
    """Those of `FLAGS` that the processor has."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", read_text(root / "proc/cpuinfo"), re.M)
    present = set(found[1].split()) if found else set()
    return [flag for flag in FLAGS if flag in present]


def memory_mib(root: Path = ROOT) -> int | None:
    """Main memory; None where /proc does not tell."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text(root / "proc/meminfo"), re.M)
    return int(found[1]) // 1024 if found else None


@cache
def memory_bytes() -> int:
    """Main memory of this machine, by which limits are set; of one that does not tell, 8 GiB."""
    return (memory_mib() or USUAL_MIB) << 20


def versions() -> dict[str, str]:
    """Installed versions of what shapes the numbers."""
    installed = {package: _version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {k: v for k, v in installed.items() if v}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment(root: Path = ROOT) -> dict[str, Any]:
    """Everything that a reader of a number asks about the machine."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_name(root),
        "cores": usable_cores(root),
        "cpu_quota": cpu_quota(root),
        "openmp_waiting": openmp_waiting(),
        "cpu_flags": cpu_flags(root),
        "memory_mib": memory_mib(root),
        "board": identity(root),
        "versions": versions(),
        "affinity": sorted(allowed_cpus(root)),
        "fingerprint": fingerprint_of(machine_facts(root)),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def fingerprint(root: Path = ROOT) -> str:
    """16 hex digits that change when numbers are no longer comparable."""
    facts = [platform.machine(), cpu_name(root), *cpu_flags(root), *sorted(identity(root).values())]
    facts += [f"{name}={version}" for name, version in versions().items()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def machine_facts(root: Path = ROOT) -> dict[str, Any]:
    """What two measurements must have in common to be comparable, by name; nobody's name is in it.

    The fingerprint of a machine is `fingerprint_of` this.
    """
    governors = {c.governor for c in board_state(root).clocks if c.governor}
    memory = memory_mib(root)
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_name(root),
        "cpu_flags": cpu_flags(root),
        "cores": usable_cores(root),
        "cpu_quota": cpu_quota(root),
        # What a kernel keeps for itself changes with its version.
        "memory_gib": None if memory is None else round(memory / 1024),
        "board": identity(root),
        "governors": sorted(governors),
        "versions": versions(),
    }


def fingerprint_of(facts: Mapping[str, Any]) -> str:
    """16 hex digits of facts that are plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def integer_speed_note(root: Path = ROOT) -> str | None:
    """Why INT8 gains little on this processor; None where it has integer dot products."""
    if set(INTEGER_FLAGS) & set(cpu_flags(root)):
        return None
    return (
        "This processor has no 8-bit dot product instructions (VNNI, AMX, SDOT), so INT8 gains "
        "less here than on one that has."
    )
