"""Intel's NPU and GPU under OpenVINO: what one needs, and which part of it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeresnet.device.machine.board import ROOT, read_text
from edgeresnet.device.targets.protocol import Missing

INTEL = "0x8086"
# PCI base and sub class: processing accelerator, and display controller.
NPU_CLASS, DISPLAY_CLASS = "0x1200", "0x03"
DRIVERS = "https://github.com/intel/linux-npu-driver/releases"
VERSIONS = {"NPU_DRIVER_VERSION": "driver", "NPU_COMPILER_VERSION": "compiler"}


def has_pci_device(class_prefix: str, root: Path = ROOT) -> bool:
    """Whether an Intel device of that PCI class is in this machine."""
    return any(
        read_text(path / "vendor").strip() == INTEL
        and read_text(path / "class").strip().startswith(class_prefix)
        for path in (root / "sys/bus/pci/devices").glob("*")
    )


def why_no_npu(root: Path = ROOT) -> Missing:
    """What OpenVINO's device ``npu`` lacks here."""
    if not has_pci_device(NPU_CLASS, root):
        return Missing(
            "npu",
            "this machine has no Intel NPU (Core Ultra processors have one)",
            "give --device cpu, or run it on a machine with one by --on ssh://.",
        )
    if not list((root / "dev/accel").glob("accel*")):
        return Missing(
            "npu",
            "the NPU is there and its kernel driver intel_vpu is not loaded",
            "sudo modprobe intel_vpu, on Linux 6.6 or later with the firmware of linux-firmware.",
        )
    return Missing(
        "npu",
        "the NPU and its kernel driver are there, and the user-mode driver is not",
        f"install intel-level-zero-npu and intel-driver-compiler-npu ({DRIVERS}), and join the "
        "group render.",
    )


def why_no_gpu(root: Path = ROOT) -> Missing:
    """What OpenVINO's device ``gpu`` lacks here."""
    if not has_pci_device(DISPLAY_CLASS, root):
        return Missing(
            "gpu", "this machine has no Intel GPU", "give --device cpu; NVIDIA: --target tensorrt."
        )
    if not list((root / "dev/dri").glob("renderD*")):
        return Missing(
            "gpu",
            "the GPU is there and its kernel driver (i915 or xe) is not loaded",
            "sudo modprobe i915, or xe for newer GPUs.",
        )
    return Missing(
        "gpu",
        "the GPU and its kernel driver are there, and the OpenCL driver is not",
        "sudo apt-get install intel-opencl-icd, and join the group render.",
    )


WHY = {"npu": why_no_npu, "gpu": why_no_gpu}


def missing_devices(available: list[str], root: Path = ROOT) -> list[Missing]:
    """Intel's devices that are in this machine, and that OpenVINO does not find."""
    hardware = {"npu": NPU_CLASS, "gpu": DISPLAY_CLASS}
    return [
        WHY[name](root)
        for name, pci_class in hardware.items()
        if has_pci_device(pci_class, root) and not any(f.split(".")[0] == name for f in available)
    ]


def compile_settings(device: str, cache_dir: Path) -> dict[str, Any]:
    """What the plugins of NPU and GPU want beside the latency hint; nothing for a CPU."""
    if device == "cpu":
        return {}
    return {"CACHE_DIR": str(cache_dir)}


def driver_versions(core: Any, name: str) -> dict[str, str]:
    """Driver and compiler of OpenVINO's device, where it has those properties."""
    supported = core.get_property(name, "SUPPORTED_PROPERTIES")
    return {
        ours: str(core.get_property(name, theirs))
        for theirs, ours in VERSIONS.items()
        if theirs in supported
    }
