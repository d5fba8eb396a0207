"""Target ``onnx``: ONNX Runtime on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.device.machine.native_output import quiet_import
from edgeresnet.device.targets.onnx.external_data import files_beside
from edgeresnet.device.targets.onnx.facts import read_onnx
from edgeresnet.device.targets.onnx.graph_file import endings_of_file, precision_of_file
from edgeresnet.device.targets.onnx.guard import check_onnx
from edgeresnet.device.targets.onnx.session import OnnxGraphSession
from edgeresnet.device.targets.onnxruntime_session import (
    FIX,
    PROVIDERS,
    open_session,
    session_options,
)
from edgeresnet.device.targets.protocol import Availability, Device, Missing, Session
from edgeresnet.device.targets.spec import BareFiles, TargetSpec
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions


class OnnxTarget:
    """ONNX Runtime."""

    spec = TargetSpec(
        name="onnx",
        extra="onnx",
        devices=tuple(PROVIDERS),
        precisions=("fp32", "int8"),
        why_no_other="ONNX Runtime's CPU kernels would convert every tensor back to fp32 and be "
        "slower",
        encoding=lambda device: "unsigned",
        writer="onnx_file",
        provers=("onnx",),
        saturates=True,
        run_options=lambda device: frozenset({"threads" if device == "cpu" else "allow_fallback"}),
        bare_files=BareFiles(
            (".onnx",), read_onnx, precision_of_file, endings_of_file, files_beside, check_onnx
        ),
        nvidia_gpu=True,
        measures_peak=lambda device: device == "cpu",
        adds_integers_apart=True,
    )

    def knows_device(self, name: str) -> bool:
        """The CPU, and NVIDIA's GPUs."""
        return name in self.spec.devices

    def available(self) -> Availability:
        """Whether onnxruntime can be imported."""
        try:
            onnxruntime = quiet_import("onnxruntime")
        except ImportError as error:
            return Availability(False, reason=f"onnxruntime: {error}", fix=FIX)
        return Availability(True, version=onnxruntime.__version__)

    def devices(self) -> list[Device]:
        """The CPU, and the GPU when the CUDA provider is installed."""
        if not self.available().usable:
            return []
        providers = quiet_import("onnxruntime").get_available_providers()
        here = [Device("cpu", cpu_name(), ("fp32", "int8"))]
        if PROVIDERS["gpu"] in providers:
            here.append(Device("gpu", "NVIDIA GPU (CUDA provider)", ("fp32", "fp16", "int8")))
        return here

    def missing(self) -> list[Missing]:
        """Nothing that could be told from here."""
        return []

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open an ``.onnx`` file."""
        return OnnxGraphSession(model_path, device, options)

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> None:
        """Nothing is kept: ONNX Runtime optimizes when it loads. Proves that it can, here."""
        open_session(model_path, device, session_options(RunOptions()))
