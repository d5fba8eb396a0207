"""Target ``onnx``: ONNX Runtime, on the CPU or an NVIDIA GPU."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from edgeresnet.cpu import runtime_threads
from edgeresnet.device import cpu_name
from edgeresnet.errors import InputError, MissingError
from edgeresnet.targets.protocol import (
    LARGEST_BATCH,
    Availability,
    BuildOptions,
    Device,
    Kernel,
    LayerProfile,
    Missing,
    RunOptions,
    Session,
    layer_profiles,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIX = "pip install 'edgeresnet[onnx]'"
PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
UNITS = {provider: unit for unit, provider in PROVIDERS.items()}
# ONNX Runtime appends to the names of nodes that it fuses; one in its blocked layout it names after
# its output, with the ReLU that became part of it.
SUFFIX = re.compile(r"_token_\d+$|(?:\.relu)?\.output_nchwc$")
INTEGER_OPS = ("QLinear", "QGemm", "Integer", "QAttention")


class OnnxTarget:
    """ONNX Runtime."""

    name = "onnx"
    default_device = "cpu"
    device_names = tuple(PROVIDERS)

    def knows_device(self, name: str) -> bool:
        """The CPU, and NVIDIA's GPUs."""
        return name in self.device_names

    def available(self) -> Availability:
        """Whether onnxruntime can be imported."""
        try:
            import onnxruntime
        except ImportError as error:
            return Availability(False, reason=f"onnxruntime: {error}", fix=FIX)
        return Availability(True, version=onnxruntime.__version__)

    def devices(self) -> list[Device]:
        """The CPU, and the GPU when the CUDA provider is installed."""
        if not self.available().usable:
            return []
        import onnxruntime

        providers = onnxruntime.get_available_providers()
        found = [Device("cpu", cpu_name(), ("fp32", "int8"))]
        if PROVIDERS["gpu"] in providers:
            found.append(Device("gpu", "NVIDIA GPU (CUDA provider)", ("fp32", "fp16", "int8")))
        return found

    def missing(self) -> list[Missing]:
        """Nothing that could be told from here."""
        return []

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open an ``.onnx`` file."""
        return OnnxSession(model_path, device, options)

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path:
        """The graph that ONNX Runtime optimizes for this CPU."""
        engine_path = engine_dir / "optimized.onnx"
        settings = session_options(RunOptions())
        settings.optimized_model_filepath = str(engine_path)
        open_session(model_path, device, settings)
        return engine_path


def session_options(options: RunOptions) -> Any:
    """ONNX Runtime's options for our measurements."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError(f"target onnx needs onnxruntime: {error}", FIX) from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = runtime_threads(options.threads) or 0
    settings.log_severity_level = 3
    if options.as_written:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Its idle threads otherwise spin for a while and slow down whatever runs next, which in an
    # interleaved comparison is the other candidate.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return settings


def open_session(model_path: Path, device: str, settings: Any) -> Any:
    """An ``onnxruntime.InferenceSession``, with our errors."""
    import onnxruntime

    provider = PROVIDERS.get(device)
    if provider not in onnxruntime.get_available_providers():
        raise MissingError(
            f"ONNX Runtime has no device {device} here",
            "give --device cpu, or install the onnxruntime package for that device.",
        )
    try:
        return onnxruntime.InferenceSession(str(model_path), settings, providers=[provider])
    # onnxruntime's exceptions share no base but this one.
    except Exception as error:
        if type(error).__module__.split(".")[0] != "onnxruntime":
            raise
        raise InputError(
            f"ONNX Runtime cannot load {model_path}: {error}",
            "export the model again; a newer ONNX Runtime may also read it.",
        ) from error


class OnnxSession:
    """A loaded ``.onnx`` file.

    Args:
        model_path: the file.
        device: ``cpu`` or ``gpu``, or what else ``opener`` knows.
        options: how it runs.
        opener: makes the ``onnxruntime.InferenceSession``.
    """

    emulated = False

    def __init__(
        self,
        model_path: Path,
        device: str,
        options: RunOptions,
        opener: Callable[[Path, str, Any], Any] = open_session,
    ) -> None:
        settings = session_options(options)
        self._profile_dir: tempfile.TemporaryDirectory[str] | None = None
        if options.profile_layers:
            self._profile_dir = tempfile.TemporaryDirectory(prefix="edgeresnet-")
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(self._profile_dir.name) / "layers")
        self._session = opener(model_path, device, settings)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise InputError(
                f"{model_path} is not an image classifier: its inputs are "
                f"{[(i.name, i.shape) for i in inputs]}",
                "give a model with one input of four dimensions.",
            )
        self._input = inputs[0].name
        self._shape = inputs[0].shape
        self._path, self._device, self._options = model_path, device, options

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch."""
        batch = self._shape[0]
        return (batch, batch) if isinstance(batch, int) else (1, LARGEST_BATCH)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One input's shape."""
        if not all(isinstance(side, int) for side in self._shape[1:]):
            raise InputError(
                f"{self._path} leaves its image size open: {self._shape}",
                "export it with a fixed image size.",
            )
        a, b, c = self._shape[1:]
        return a, b, c

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of one batch."""
        logits: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        return logits

    def layers(self, runs: int) -> list[LayerProfile]:
        """Median time of each kernel in the last runs; ends the profiling."""
        times: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(list)
        for name, op, unit, elapsed_ms in self._executed():
            times[name, op, _precision(op), unit].append(elapsed_ms)
        return layer_profiles(times, runs)

    def kernels(self) -> list[Kernel]:
        """What the profiler sees of one run, in a session of its own."""
        options = replace(self._options, profile_layers=True)
        with OnnxSession(self._path, self._device, options) as session:
            shape = (session.batch_sizes[0], *session.input_shape)
            images: NDArray[np.float32] | NDArray[np.uint8] = np.zeros(shape, np.float32)
            if shape[-1] == 3 and shape[1] != 3:
                images = np.zeros(shape, np.uint8)
            session.run(images)
            return [
                Kernel(op, _precision(op), unit, (SUFFIX.sub("", name),))
                for name, op, unit, _ in session._executed()
            ]

    def _executed(self) -> Iterator[tuple[str, str, str, float]]:
        """Name, operator, unit and milliseconds of every kernel run so far; ends the profiling."""
        if self._profile_dir is None:
            raise InputError("layers were not timed", "open the session with profile_layers.")
        for event in json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                facts = event["args"]
                yield (
                    event["name"].removesuffix("_kernel_time"),
                    facts.get("op_name", ""),
                    UNITS.get(facts.get("provider", ""), self._device),
                    event["dur"] / 1e3,
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session = None
        if self._profile_dir is not None:
            self._profile_dir.cleanup()


def _precision(op: str) -> str:
    return "int8" if any(mark in op for mark in INTEGER_OPS) else "fp32"
