"""Target ``openvino``."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from edgeresnet.device.targets.engine_record import write_engine
from edgeresnet.device.targets.openvino.compiling import (
    BLOB,
    CPU,
    available,
    compile_model,
    engine_facts,
    make_core,
    our_name,
)
from edgeresnet.device.targets.openvino.facts import read_openvino
from edgeresnet.device.targets.openvino.graph_file import (
    endings_of_file,
    precision_of_file,
    weights_beside,
)
from edgeresnet.device.targets.openvino.guard import check_openvino
from edgeresnet.device.targets.openvino.intel import driver_versions, missing_devices
from edgeresnet.device.targets.openvino.session import OpenVinoSession
from edgeresnet.device.targets.protocol import Availability, Device, Missing, Session
from edgeresnet.device.targets.spec import BareFiles, TargetSpec
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions


def racing_stream(channels: int) -> str | None:
    """Why a stream of so many channels must not run in integers; see README, "Targets".

    The convolution that ends a block adds the stream in the same kernel, in blocks of 16 channels,
    and seems to write a last one whole that is not full. Seen at 20, 24, 36, 40, 56 and 72
    channels, never at 8, 12, 16, 32, 48 or 64, nor of widths inside of blocks.
    """
    if channels <= 16 or channels % 16 == 0:
        return None
    return (
        "OpenVINO's integer kernels answer otherwise from run to run on more than one thread where "
        "channels above 16 are no multiple of 16"
    )


class OpenVinoTarget:
    """OpenVINO."""

    spec = TargetSpec(
        name="openvino",
        extra="openvino",
        devices=(CPU, "gpu", "npu"),
        precisions=("fp32", "fp16", "bf16", "int8"),
        why_no_other="it chooses the type of the tensors around INT8 by itself",
        encoding=lambda device: "unsigned",
        wrong_stream=racing_stream,
        writer="openvino_ir",
        provers=("openvino",),
        saturates=True,
        run_options=lambda device: frozenset({"threads" if device == "cpu" else "allow_fallback"}),
        bare_files=BareFiles(
            (".xml",),
            read_openvino,
            precision_of_file,
            endings_of_file,
            weights_beside,
            check_openvino,
        ),
        # It reads files of many frameworks, and exports are its own.
        model_suffixes=(".xml",),
        # For its processor it compiles in a moment, when it loads.
        is_built_for=lambda device: device != CPU,
        floats_by_device=True,
        measures_peak=lambda device: device == CPU,
    )

    def knows_device(self, name: str) -> bool:
        """Each of Intel's kinds; where there are several of one, as ``gpu.1``."""
        kind, dot, number = name.partition(".")
        return kind in self.spec.devices and (number.isdigit() if dot else True)

    def available(self) -> Availability:
        """Whether openvino can be imported."""
        return available()

    def devices(self) -> list[Device]:
        """What OpenVINO's plugins find here."""
        if not self.available().usable:
            return []
        core = make_core()
        here = []
        for name in core.available_devices:
            capabilities = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
            versions = [f"{k} {v}" for k, v in driver_versions(core, name).items()]
            description = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
            about = ", ".join([description, *versions])
            here.append(Device(our_name(name), about, tuple(capabilities)))
        return here

    def missing(self) -> list[Missing]:
        """Intel NPUs and GPUs of this machine that lack a driver."""
        if not self.available().usable:
            return []
        return missing_devices([our_name(name) for name in make_core().available_devices])

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open an ``.xml`` file (or ``.onnx``, which OpenVINO reads as well)."""
        return OpenVinoSession(model_path, device, options)

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path | None:
        """The blob that OpenVINO compiles for a GPU or NPU, where that takes minutes.

        For a CPU nothing is kept: it is compiled when it loads. This proves that it can be, here.
        """
        compiled = compile_model(model_path, device, RunOptions())
        if device == CPU:
            return None
        blob = BytesIO()
        compiled.export_model(blob)
        facts = engine_facts(make_core(), device)
        return write_engine(engine_dir / f"{device}{BLOB}", blob.getvalue(), model_path, facts)
