"""Target ``onnx``: ONNX Runtime, on the CPU or an NVIDIA GPU."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeresnet.closing import Closing, temporary_folder
from edgeresnet.device.machine.cpu import runtime_threads
from edgeresnet.device.machine.native_output import quiet_import
from edgeresnet.device.targets.classifier import PIXELS, TensorInfo, as_logits, check_classifier
from edgeresnet.device.targets.outputs import flattened
from edgeresnet.device.targets.protocol import (
    LARGEST_BATCH,
    Kernel,
    LayerProfile,
    layer_profiles,
)
from edgeresnet.device.targets.stranger import said
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIX = "pip install 'edgeresnet[onnx]'"
PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
UNITS = {provider: unit for unit, provider in PROVIDERS.items()}
# ONNX Runtime appends to the names of nodes that it fuses; one in its blocked layout it names after
# its output, with the ReLU that became part of it.
SUFFIX = re.compile(r"_token_\d+$|(?:\.relu)?\.output_nchwc$")
TYPES = {"float": "float32", "double": "float64"}
WARNING, FATAL = 2, 4
MADE = "made.onnx"
EIGHT_BITS = ("uint8", "int8")
INTEGER_OPS = ("QLinear", "QGemm", "Integer", "QAttention")


def optimized_graph(model_path: Path, out_path: Path) -> Path:
    """Write the graph that ONNX Runtime makes of a model for this CPU, to look at.

    It holds what this very processor can run, and is never loaded: from the model itself it is
    made anew in a fraction of a second.
    """
    settings = session_options(RunOptions())
    settings.optimized_model_filepath = str(out_path)
    open_session(model_path, "cpu", settings)
    return out_path


def session_options(options: RunOptions) -> Any:
    """ONNX Runtime's options for our measurements."""
    try:
        onnxruntime = quiet_import("onnxruntime")
    except ImportError as error:
        raise MissingError(f"target onnx needs onnxruntime: {error}", FIX) from error
    # Errors are raised too, and some messages go past the session's own level.
    onnxruntime.set_default_logger_severity(FATAL)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = runtime_threads(options.threads) or 0
    settings.log_severity_level = FATAL
    if options.as_written:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Its idle threads otherwise spin for a while and slow down whatever runs next, which in an
    # interleaved comparison is the other candidate.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return settings


def open_session(model_path: Path, device: str, settings: Any) -> Any:
    """An ``onnxruntime.InferenceSession``, with our errors."""
    onnxruntime = quiet_import("onnxruntime")
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
        if not is_runtimes(error):
            raise
        raise InputError(
            f"ONNX Runtime cannot load {model_path}: {said(error)}",
            "export the model again; a newer ONNX Runtime may also read it.",
        ) from error


def run_once(session: Any, feeds: dict[str, Any], path: Path, output: str | None = None) -> Any:
    """An output of one run, by its name or the first, with our errors."""
    return run_all(session, feeds, path, None if output is None else [output])[0]


def run_all(
    session: Any, feeds: dict[str, Any], path: Path, outputs: Sequence[str] | None = None
) -> list[Any]:
    """The named outputs of one run, or all, with our errors."""
    try:
        return list(session.run(outputs, feeds))
    # onnxruntime's exceptions share no base but this one.
    except Exception as error:
        if not is_runtimes(error):
            raise
        shapes = " and ".join(str(array.shape) for array in feeds.values())
        raise InputError(
            f"ONNX Runtime cannot run {path} on a batch of shape {shapes}: {said(error)}",
            "give another --batch, or export the model again.",
        ) from error


def is_runtimes(error: Exception) -> bool:
    """Whether an exception is onnxruntime's own."""
    return type(error).__module__.split(".")[0] == "onnxruntime"


def noted(session: Any) -> list[dict[str, Any]]:
    """What the profiler of an ``onnxruntime.InferenceSession`` has written; ends the profiling.

    Raises:
        MissingError: the file is cut short; ONNX Runtime itself does not notice that.
    """
    path = Path(session.end_profiling())
    try:
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingError(
            f"what ONNX Runtime notes of its kernels cannot be written to {path.parent.parent}: "
            "the disk may be full",
            "make room there, or set TMPDIR to a folder on a disk with room.",
        ) from error
    return events


def tensor_info(tensor: Any) -> TensorInfo:
    """An input or output of a session; an open side has a name or nothing for its length."""
    sides = tuple(side if isinstance(side, int) else None for side in tensor.shape)
    kind = str(tensor.type).removeprefix("tensor(").removesuffix(")")
    # Without any shape ONNX Runtime tells an empty one.
    return TensorInfo(tensor.name, sides or None, TYPES.get(kind, kind))


class OnnxSession(Closing):
    """A loaded ``.onnx`` file.

    Args:
        model_path: the file.
        device: ``cpu`` or ``gpu``, or what else ``opener`` knows.
        options: how it runs.
        opener: makes the ``onnxruntime.InferenceSession``.
    """

    emulated = False
    # Whether the graph that is profiled is kept beside the profile.
    keeps_graph = False
    # An ``InferenceSession`` may be run by several threads.
    runs_from_threads: Literal[True] = True

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
            self._profile_dir = temporary_folder()
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(self._profile_dir.name) / "layers")
            if self.keeps_graph:
                settings.optimized_model_filepath = str(Path(self._profile_dir.name) / MADE)
        self._session: Any = None
        try:
            self._session = opener(model_path, device, settings)
            inputs = [tensor_info(tensor) for tensor in self._session.get_inputs()]
            outputs = [tensor_info(tensor) for tensor in self._session.get_outputs()]
            self._form = check_classifier(
                model_path, inputs, outputs, options.image_size, options.outputs
            )
        except BaseException:
            self.close()
            raise
        self._images, self.classes = self._form.images, self._form.classes
        self._output = outputs[self._form.output].name
        self._names = [output.name for output in outputs]
        self._half = self._images.dtype == "float16"
        self._path, self._device, self._options = model_path, device, options

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch."""
        assert self._images.shape is not None
        batch = self._images.shape[0]
        return (1, LARGEST_BATCH) if batch is None else (batch, batch)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One input's shape."""
        return self._form.input_shape

    @property
    def input_dtype(self) -> str:
        """Data type of the model's input, by numpy's name."""
        return self._images.dtype

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of one batch."""
        if self._options.outputs:
            # All of them: what a run costs is what all cost.
            answer = self._run_all(batch)[self._form.output]
            return as_logits(flattened(answer), len(batch))
        feeds = self._feeds(batch)
        return as_logits(run_once(self._session, feeds, self._path, self._output), len(batch))

    def outputs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """Every output of one batch, by its name."""
        named = zip(self._names, self._run_all(batch), strict=True)
        return {name: value.astype(np.float32, copy=False) for name, value in named}

    def _run_all(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> list[NDArray[Any]]:
        return run_all(self._session, self._feeds(batch), self._path)

    def _feeds(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return {self._images.name: batch.astype(np.float16) if self._half else batch}

    def layers(self, runs: int) -> list[LayerProfile]:
        """Median time of each kernel in the last runs; ends the profiling."""
        times: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(list)
        for name, op, precision, unit, elapsed_ms in self._executed():
            times[name, op, precision, unit].append(elapsed_ms)
        return layer_profiles(times, runs)

    def kernels(self) -> list[Kernel]:
        """What the profiler sees of one run, in a session of its own."""
        options = replace(self._options, profile_layers=True)
        with OnnxSession(self._path, self._device, options) as session:
            shape = (session.batch_sizes[0], *session.input_shape)
            images: NDArray[np.float32] | NDArray[np.uint8] = np.zeros(shape, np.float32)
            if session.input_dtype == PIXELS:
                images = np.zeros(shape, np.uint8)
            session.run(images)
            return [
                Kernel(op, precision, unit, (SUFFIX.sub("", name),))
                for name, op, precision, unit, _ in session._executed()
            ]

    def _executed(self) -> Iterator[tuple[str, str, str, str, float]]:
        """Name, operator, precision, unit and milliseconds of every kernel that was run so far.

        Ends the profiling.
        """
        if self._profile_dir is None:
            raise InputError("layers were not timed", "open the session with profile_layers.")
        for event in noted(self._session):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                facts = event["args"]
                yield (
                    event["name"].removesuffix("_kernel_time"),
                    facts.get("op_name", ""),
                    _precision(facts),
                    UNITS.get(facts.get("provider", ""), self._device),
                    event["dur"] / 1e3,
                )

    def close(self) -> None:
        """Give back what is held."""
        self._session = None
        if self._profile_dir is not None:
            self._profile_dir.cleanup()


def precision_of(op: str) -> str:
    """What a kernel of that name computes in."""
    return "int8" if any(mark in op for mark in INTEGER_OPS) else "fp32"


def _precision(facts: Mapping[str, Any]) -> str:
    """What a kernel computes in, from what the profiler notes of it.

    One that only moves or compares (a transpose, a maximum) is not called after integers, and
    works in them all the same where it reads and writes 8 bits.
    """
    op = str(facts.get("op_name", ""))
    ends = [facts.get(f"{way}_type_shape") or [{}] for way in ("input", "output")]
    return "int8" if all(set(end[0]) & set(EIGHT_BITS) for end in ends) else precision_of(op)
