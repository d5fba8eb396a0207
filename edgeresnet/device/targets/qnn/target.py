"""Target ``qnn``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgeresnet.closing import temporary_folder
from edgeresnet.device.targets.engine_record import (
    engine_dir_of,
    engine_fits,
    read_kernels,
    write_engine,
)
from edgeresnet.device.targets.onnxruntime_session import session_options
from edgeresnet.device.targets.precision import WIDE
from edgeresnet.device.targets.protocol import Availability, Device, Missing, Session
from edgeresnet.device.targets.qnn.session import (
    CAPABILITIES,
    NPU,
    Opener,
    QnnSession,
    available,
    emulates,
    engine_path_of,
    soc_facts,
)
from edgeresnet.device.targets.qnn.snapdragon import SOCS, soc_of
from edgeresnet.device.targets.spec import TargetSpec
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions


class QnnTarget:
    """ONNX Runtime with Qualcomm's execution provider."""

    spec = TargetSpec(
        name="qnn",
        extra="qnn",
        devices=(NPU, *SOCS, "SOC_MODEL:HTP_ARCH"),
        precisions=CAPABILITIES,
        why_no_other="Hexagon computes in integers or in FP16",
        default_precision="fp16",
        encoding=lambda device: "hexagon",
        writer="onnx_file",
        provers=("qnn", "onnx"),
        saturates=False,
        run_options=lambda device: frozenset({"allow_fallback"}),
        # For the name of a chip; the machine's own NPU compiles when it loads.
        is_built_for=lambda device: device != NPU,
        dynamic_batch=False,
        pixel_input=False,
        float_layers_in=WIDE,
    )

    def knows_device(self, name: str) -> bool:
        """The NPU of this machine, or a chip."""
        try:
            return name == NPU or bool(soc_of(name))
        except InputError:
            return False

    def available(self) -> Availability:
        """Whether onnxruntime-qnn can be imported."""
        return available()

    def devices(self) -> list[Device]:
        """The NPU, or its emulator."""
        if not self.available().usable:
            return []
        if not emulates():
            return [Device(NPU, "Qualcomm Hexagon NPU", CAPABILITIES)]
        about = "emulator of the Hexagon NPU: right logits, no latency"
        return [Device(NPU, about, CAPABILITIES, emulated=True)]

    def missing(self) -> list[Missing]:
        """Nothing: `available` says what is missing."""
        return []

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open an ``.onnx`` file; for the name of a chip, the context binary built for it."""
        if device == NPU:
            return QnnSession(model_path, device, options)
        soc = soc_of(device)
        engine_path = engine_path_of(engine_dir_of(model_path, options), soc)
        why = engine_fits(engine_path, model_path, soc_facts(soc))
        if why is not None:
            raise MissingError(
                f"{model_path.parent} has no context binary for {soc.name} that could be loaded: "
                f"{why}",
                f"build it: edgeresnet build {model_path.parent} --device {device}.",
            )
        return QnnSession(engine_path, device, options, read_kernels(engine_path))

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path:
        """Compile a context binary for a chip, ahead of time and on any machine."""
        if device == NPU:
            raise InputError(
                "a context binary is for one chip, and npu does not say which",
                "give --device sm8650, for instance; without an engine npu compiles when it loads.",
            )
        soc = soc_of(device)
        with temporary_folder() as folder:
            made = Path(folder) / "context.onnx"
            settings = session_options(RunOptions())
            for name, value in (
                ("ep.context_enable", "1"),
                ("ep.context_embed_mode", "1"),
                ("ep.context_file_path", str(made)),
            ):
                settings.add_session_config_entry(name, value)
            opener = Opener(RunOptions(), soc)
            opener(model_path, device, settings)
            content = made.read_bytes()
        # In the engine all layers are one node: what was assigned is known only now.
        facts = soc_facts(soc) | {"layers": [asdict(kernel) for kernel in opener.placed]}
        return write_engine(engine_path_of(engine_dir, soc), content, model_path, facts)
