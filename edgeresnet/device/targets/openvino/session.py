"""Target ``openvino``: Intel's runtime, on CPU, GPU or NPU (and on any x86 or Arm CPU)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.device.machine.cpu import runtime_threads
from edgeresnet.device.machine.native_output import quiet_import
from edgeresnet.device.targets.classifier import TensorInfo, as_logits, check_classifier
from edgeresnet.device.targets.engine_record import engine_dir_of, engine_fits, read_content
from edgeresnet.device.targets.executed import ExecutedGraph
from edgeresnet.device.targets.openvino.executed_graph import executed_graph
from edgeresnet.device.targets.openvino.graph_file import weights_of
from edgeresnet.device.targets.openvino.guard import check_shapes
from edgeresnet.device.targets.openvino.intel import (
    WHY,
    compile_settings,
    driver_versions,
)
from edgeresnet.device.targets.protocol import (
    LARGEST_BATCH,
    Availability,
    Kernel,
    LayerProfile,
)
from edgeresnet.device.targets.stranger import said
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.places import cache_dir
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIX = "pip install 'edgeresnet[openvino]'"
PRECISIONS = {"i8": "int8", "u8": "int8", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}
BLOB, CPU = ".blob", "cpu"
OUTPUT, CLASSIFIER = "logits", "fc"
DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}
HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


def make_core() -> Any:
    """An ``openvino.Core``; MissingError says how to install it."""
    try:
        openvino = quiet_import("openvino")
    except ImportError as error:
        raise MissingError(f"target openvino needs openvino: {error}", FIX) from error
    return openvino.Core()


def our_name(name: str) -> str:
    lower = name.lower()
    return lower.removesuffix(".0")


def available() -> Availability:
    """Whether openvino can be imported."""
    try:
        openvino = quiet_import("openvino")
    except ImportError as error:
        return Availability(False, reason=f"openvino: {error}", fix=FIX)
    return Availability(True, version=str(openvino.__version__).split("-")[0])


def engine_facts(core: Any, device: str) -> dict[str, Any]:
    """What an engine for the device depends on."""
    here = available()
    return {
        "device": device,
        "openvino": here.version,
        **driver_versions(core, _names(core)[device]),
    }


def _names(core: Any) -> dict[str, str]:
    """OpenVINO's name of each device by ours."""
    return {our_name(name): name for name in core.available_devices}


def compile_model(model_path: Path, device: str, options: RunOptions) -> Any:
    """An ``openvino.CompiledModel`` set up for latency, with our errors.

    NPUs and GPUs take minutes to compile some networks, so theirs are cached, and the engine that
    `OpenVinoTarget.save_engine` left beside the model is loaded where it fits.
    """
    core = make_core()
    names = _names(core)
    if device not in names:
        _refuse(device, list(names))
    settings = _hints(options) | compile_settings(device, cache_dir() / "openvino")
    if device == CPU and (threads := runtime_threads(options.threads)) is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    if options.profile_layers:
        settings["PERF_COUNT"] = True
    # An NPU computes floats in FP16 whatever is asked.
    if options.precision in HINTS and device != "npu":
        settings["INFERENCE_PRECISION_HINT"] = HINTS[options.precision]
    engine_path = engine_dir_of(model_path, options) / f"{device}{BLOB}"
    try:
        # A blob has its settings compiled in: what differs from them needs the model.
        plain = device != CPU and not options.profile_layers and options.batch is None
        plain &= options.concurrency == 1
        if plain and engine_fits(engine_path, model_path, engine_facts(core, device)) is None:
            return core.import_model(read_content(engine_path), names[device])
        model = core.read_model(str(model_path), weights_of(model_path) or "")
        form = check_classifier(
            model_path, tensors(model.inputs), tensors(model.outputs), options.image_size
        )
        shape = model.inputs[0].partial_shape
        batch = _static_batch(model, device, options)
        if batch is not None:
            shape[0] = batch
        for at, side in enumerate(form.input_shape, 1):
            shape[at] = side
        if shape != model.inputs[0].partial_shape:
            model.reshape(shape)
        check_shapes(model_path, model)
        return core.compile_model(model, names[device], settings)
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO cannot load {model_path} on {device}: {said(error)}",
            "export the model again; a newer OpenVINO may also read it.",
        ) from error


def _hints(options: RunOptions) -> dict[str, Any]:
    """For one run at a time the shortest; of several at once the most in all."""
    if options.concurrency == 1:
        return {"PERFORMANCE_HINT": "LATENCY"}
    several = {"PERFORMANCE_HINT_NUM_REQUESTS": options.concurrency}
    return {"PERFORMANCE_HINT": "THROUGHPUT", **several}


def _static_batch(model: Any, device: str, options: RunOptions) -> int | None:
    """The batch size to fix where the model leaves it open; None leaves it."""
    if not model.inputs[0].partial_shape[0].is_dynamic:
        return None
    # An NPU takes static shapes only.
    return options.batch or (1 if device == "npu" else None)


def _refuse(device: str, here: list[str]) -> NoReturn:
    if device in WHY:
        missing = WHY[device]()
        raise MissingError(f"OpenVINO finds no {device}: {missing.reason}", missing.fix)
    raise MissingError(
        f"OpenVINO finds no device {device} here, only {', '.join(here)}",
        "give --device with one of these.",
    )


def tensors(ports: Any) -> list[TensorInfo]:
    """Inputs or outputs of a model, compiled or not."""
    return [
        TensorInfo(port.get_any_name() if port.get_names() else "", sides(port), _dtype(port))
        for port in ports
    ]


def sides(port: Any) -> tuple[int | None, ...] | None:
    """Shape of an input or output; None for an open side, and for an open rank."""
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return None
    return tuple(None if side.is_dynamic else side.get_length() for side in shape)


def _dtype(port: Any) -> str:
    name = str(port.element_type.get_type_name())
    return DTYPES.get(name, name)


class OpenVinoSession(Closing):
    """A compiled OpenVINO model."""

    emulated = False

    def __init__(self, model_path: Path, device: str, options: RunOptions) -> None:
        self._compiled = compile_model(model_path, device, options)
        self._form = check_classifier(
            model_path, tensors(self._compiled.inputs), tensors(self._compiled.outputs)
        )
        self._images, self.classes = self._form.images, self._form.classes
        self._shape = self._compiled.inputs[0].partial_shape
        self._half = self._images.dtype == "float16"
        self._path = model_path
        self._request = self._compiled.create_infer_request()
        self._unit = device
        self._profiled = options.profile_layers
        # OpenVINO tells of each kernel the mean of all runs so far.
        self._averages: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(list)

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch."""
        batch = self._shape[0]
        if batch.is_static:
            return batch.get_length(), batch.get_length()
        largest = batch.get_max_length()
        return max(1, batch.get_min_length()), largest if largest > 0 else LARGEST_BATCH

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
        # Shared memory spares the copy of the input; the result is copied, the request is reused.
        given = batch.astype(np.float16) if self._half else batch
        try:
            self._request.infer({0: given}, share_inputs=True)
        except RuntimeError as error:
            raise InputError(
                f"OpenVINO cannot run {self._path} on a batch of shape {batch.shape}: "
                f"{said(error)}",
                "give another --batch, or export the model again.",
            ) from error
        output = np.array(self._request.get_output_tensor(self._form.output).data, dtype=np.float32)
        if self._profiled:
            for info in self._request.profiling_info:
                if str(info.status).endswith("EXECUTED"):
                    precision = _precision(info.exec_type)
                    key = (info.node_name, info.node_type, precision, self._unit)
                    self._averages[key].append(info.real_time.total_seconds() * 1e3)
        return as_logits(output, len(batch))

    def queue_runs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8], concurrency: int, seconds: float
    ) -> tuple[list[float], float]:
        """Keep so many runs under way by an ``AsyncInferQueue``; see `QueuesRuns`."""
        openvino = quiet_import("openvino")
        given = batch.astype(np.float16) if self._half else batch
        queue = openvino.AsyncInferQueue(self._compiled, concurrency)
        samples_ms: list[float] = []
        queue.set_callback(
            lambda request, start: samples_ms.append((time.perf_counter() - start) * 1e3)
        )
        begun = time.perf_counter()
        while time.perf_counter() < begun + seconds:
            # Waits, before its clock starts, until one of the requests is free.
            queue.get_idle_request_id()
            queue.start_async({0: given}, time.perf_counter(), share_inputs=True)
        queue.wait_all()
        return samples_ms, time.perf_counter() - begun

    def layers(self, runs: int) -> list[LayerProfile]:
        """Each kernel in the last runs, with the operations of the file that are in it."""
        if not self._profiled:
            raise InputError("layers were not timed", "open the session with profile_layers.")
        profiles = [
            LayerProfile(*layer, mean_of_last(averages, runs))
            for layer, averages in self._averages.items()
        ]
        return self.graph.placed(profiles)

    @cached_property
    def graph(self) -> ExecutedGraph:
        """The file's graph and the compiled one."""
        return executed_graph(make_core(), self._path, self._compiled)

    def kernels(self) -> list[Kernel]:
        """The operations of OpenVINO's runtime model."""
        kernels = []
        for operation in self._compiled.get_runtime_model().get_ordered_ops():
            facts = operation.get_rt_info()

            def fact(key: str, facts: Any = facts) -> str:
                return str(facts[key].astype(str)) if key in facts else ""

            kind, runs_in = fact("layerType"), fact("runtimePrecision")
            if kind not in ("Const", "Reorder", "Reshape"):
                # OpenVINO appends to the name of a layer that it rewrites: fc/WithoutBiases/….
                names = fact("originalLayersNames").split(",")
                layers = tuple(name.split("/")[0] for name in names if name)
                if kind == "FullyConnected" and OUTPUT in layers:
                    # In float OpenVINO names the last layer after the output.
                    layers = (*layers, CLASSIFIER)
                precision = PRECISIONS.get(runs_in, runs_in)
                op = f"{kind} {fact('primitiveType')}".strip()
                kernels.append(Kernel(op, precision, self._unit, layers))
        return kernels

    def close(self) -> None:
        """Give back what is held."""
        self._request = None
        self._compiled = None


def mean_of_last(averages: Sequence[float], runs: int) -> float:
    """The mean of the last runs, from the mean of all runs so far after each of them."""
    before = averages[:-runs]
    earlier = len(before) * before[-1] if before else 0.0
    return max(0.0, (len(averages) * averages[-1] - earlier) / (len(averages) - len(before)))


def _precision(kernel: str) -> str:
    """OpenVINO names kernels like ``brgconv_avx2_1x1_I8``."""
    return PRECISIONS.get(kernel.rsplit("_", 1)[-1].lower(), kernel)
