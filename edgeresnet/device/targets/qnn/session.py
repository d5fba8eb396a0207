"""Target ``qnn``: Qualcomm's Hexagon NPU, through ONNX Runtime's QNN execution provider.

On a Snapdragon it runs on the NPU. On x86-64 Linux the same compiler and an emulator of the NPU
come with the package: right logits, and no latency that would mean anything.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeresnet.device.machine.native_output import captured_output, quiet_import
from edgeresnet.device.targets.onnxruntime_session import (
    FATAL,
    SUFFIX,
    WARNING,
    OnnxSession,
    is_runtimes,
)
from edgeresnet.device.targets.protocol import (
    Availability,
    Kernel,
    LayerProfile,
)
from edgeresnet.device.targets.qnn.snapdragon import Soc, soc_of
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.settings.measuring import RunOptions

FIX = "pip install 'edgeresnet[qnn]'; it has x86-64 Linux and Arm64 Windows, Python 3.11 or later"
PROVIDER = "QNNExecutionProvider"
NPU = "npu"
CAPABILITIES = ("fp16", "int8", "w8a16")
QUANTIZED = ("QuantizeLinear", "DequantizeLinear")
# What the provider logs about nodes that the NPU refuses.
UNSUPPORTED = re.compile(r"\{ name: ([^,}]+), type: ([^}]+?) \}")
REFUSED = re.compile(r"failed for node `([^`]*)` of type `([^`]*)` with error code (\d+)")
ENGINE_SUFFIX = ".context.onnx"


def available() -> Availability:
    """Whether onnxruntime-qnn can be imported."""
    try:
        onnxruntime_qnn = quiet_import("onnxruntime_qnn")
    except ImportError as error:
        return Availability(False, reason=f"onnxruntime-qnn: {error}", fix=FIX)
    return Availability(True, version=f"onnxruntime-qnn {onnxruntime_qnn.__version__}")


def emulates() -> bool:
    """Whether the provider's NPU is emulated: it is on every x86 machine."""
    return platform.machine().lower() in ("x86_64", "amd64")


def engine_path_of(engine_dir: Path, soc: Soc) -> Path:
    """Where the context binary for a chip lies."""
    return engine_dir / f"{soc.name}{ENGINE_SUFFIX}"


def soc_facts(soc: Soc) -> dict[str, Any]:
    here = available()
    if not here.usable:
        raise MissingError(f"target qnn is not here: {here.reason}", FIX)
    return {
        "device": soc.name,
        "soc_model": soc.soc_model,
        "htp_arch": soc.htp_arch,
        "compiler": here.version,
    }


def _provider_devices() -> tuple[list[Any], str]:
    """The provider's devices, and the path of the HTP library."""
    try:
        onnxruntime = quiet_import("onnxruntime")
        onnxruntime_qnn = quiet_import("onnxruntime_qnn")
    except ImportError as error:
        raise MissingError(f"target qnn needs onnxruntime-qnn: {error}", FIX) from error

    def of_provider() -> list[Any]:
        return [d for d in onnxruntime.get_ep_devices() if d.ep_name == PROVIDER]

    if not of_provider():
        with captured_output():
            onnxruntime.register_execution_provider_library(
                PROVIDER, onnxruntime_qnn.get_library_path()
            )
    devices = of_provider()
    on_npu = [d for d in devices if d.device.type == onnxruntime.OrtHardwareDeviceType.NPU]
    chosen = devices[:1] if emulates() else on_npu[:1]
    if not chosen:
        raise MissingError(
            "ONNX Runtime finds no Hexagon NPU in this machine",
            "install Qualcomm's NPU driver, or compile ahead of time with --device sm8650 on x86.",
        )
    return chosen, str(onnxruntime_qnn.get_qnn_htp_path())


@dataclass
class Opener:
    """Makes an ``InferenceSession`` of which the NPU runs every node, or says which it refuses."""

    options: RunOptions
    soc: Soc | None = None
    placed: list[Kernel] = field(default_factory=list)

    def __call__(self, model_path: Path, device: str, settings: Any) -> Any:
        devices, library = _provider_devices()
        onnxruntime = quiet_import("onnxruntime")
        provider = {
            "backend_path": library,
            # The first Q and the last DQ too; by default the CPU would run them.
            "offload_graph_io_quantization": "0",
        }
        if self.soc is not None:
            provider["soc_model"] = str(self.soc.soc_model)
            provider["htp_arch"] = str(self.soc.htp_arch)
        settings.log_severity_level = WARNING
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if not self.options.allow_fallback:
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings.add_provider_for_devices(devices, provider)
        try:
            onnxruntime.set_default_logger_severity(WARNING)
            with captured_output() as told:
                session = onnxruntime.InferenceSession(str(model_path), settings)
        # onnxruntime's exceptions share no base but this one.
        except Exception as error:
            if not is_runtimes(error):
                raise
            raise self._refusal(model_path, device, error, told[0]) from error
        finally:
            onnxruntime.set_default_logger_severity(FATAL)
        self.placed = _placed(session)
        return session

    def _refusal(
        self, model_path: Path, device: str, error: Exception, log: str
    ) -> CheckError | InputError:
        codes = {name: f"refused with error {code}" for name, _, code in REFUSED.findall(log)}
        unknown = "not an operator of its, with these types"
        named = [
            f"{name} ({op}: {codes.get(name, unknown)})"
            for name, op in dict.fromkeys(UNSUPPORTED.findall(log))
        ]
        if named:
            more = f" and {len(named) - 5} more" if len(named) > 5 else ""
            return CheckError(
                f"Hexagon does not run all of {model_path}: {', '.join(named[:5])}{more}",
                "export the checkpoint with --target qnn; --allow-fallback runs them on the CPU.",
            )
        what = f"target qnn cannot load {model_path} on {device}: {error}"
        if self.soc is not None and not self.soc.sold_as:
            return InputError(
                what, "these numbers may be no chip that QNN knows: give a name such as sm8650."
            )
        return InputError(what, "export the model again; a newer onnxruntime-qnn may also read it.")


def _placed(session: Any) -> list[Kernel]:
    """What ONNX Runtime assigned to whom."""
    nodes = [
        (part.ep_name, node.name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    quantized = any(op in QUANTIZED for _, _, op in nodes)
    return [
        Kernel(
            op,
            ("int8" if quantized else "fp16") if provider == PROVIDER else "fp32",
            NPU if provider == PROVIDER else "cpu",
            (SUFFIX.sub("", name),),
        )
        for provider, name, op in nodes
    ]


class QnnSession(OnnxSession):
    """A model on the NPU, or on its emulator.

    Args:
        model_path: ``.onnx``, or a context binary.
        device: ``npu``, or the chip that it was compiled for.
        options: how it runs.
        compiled: what a context binary was made of; None: ONNX Runtime tells.
    """

    def __init__(
        self,
        model_path: Path,
        device: str,
        options: RunOptions,
        compiled: list[Kernel] | None = None,
    ) -> None:
        self.emulated = emulates()
        opener = Opener(options, None if device == NPU else soc_of(device))
        super().__init__(model_path, device, options, opener)
        self._kernels = compiled or opener.placed

    def kernels(self) -> list[Kernel]:
        """Every node of the graph, and which unit runs it."""
        return self._kernels

    def layers(self, runs: int) -> list[LayerProfile]:
        """The NPU runs the network as one; an emulator's times say nothing."""
        if self.emulated:
            raise MissingError(
                "the emulator of the NPU has no times of layers", "profile on the Snapdragon."
            )
        known = {name: kernel.precision for kernel in self._kernels for name in kernel.layers}
        usual = Counter(kernel.precision for kernel in self._kernels).most_common(1)[0][0]
        return [
            replace(layer, precision=known.get(SUFFIX.sub("", layer.name), usual), unit=NPU)
            for layer in super().layers(runs)
        ]
