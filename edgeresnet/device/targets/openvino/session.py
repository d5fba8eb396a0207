"""Target ``openvino``: Intel's runtime, on CPU, GPU or NPU (and on any x86 or Arm CPU)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.device.machine.native_output import quiet_import
from edgeresnet.device.targets.classifier import as_logits, check_classifier
from edgeresnet.device.targets.executed import ExecutedGraph
from edgeresnet.device.targets.openvino.compiling import compile_model, make_core, tensors
from edgeresnet.device.targets.openvino.executed_graph import executed_graph
from edgeresnet.device.targets.outputs import flattened
from edgeresnet.device.targets.protocol import (
    LARGEST_BATCH,
    Kernel,
    LayerProfile,
)
from edgeresnet.device.targets.stranger import said
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRECISIONS = {"i8": "int8", "u8": "int8", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}
OUTPUT, CLASSIFIER = "logits", "fc"


class OpenVinoSession(Closing):
    """A compiled OpenVINO model."""

    emulated = False

    def __init__(self, model_path: Path, device: str, options: RunOptions) -> None:
        self._compiled = compile_model(model_path, device, options)
        self._form = check_classifier(
            model_path,
            tensors(self._compiled.inputs),
            outputs := tensors(self._compiled.outputs),
            told=options.outputs,
        )
        self._names, self._told = [output.name for output in outputs], bool(options.outputs)
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
        self._infer(batch)
        output = self._output(self._form.output)
        return as_logits(flattened(output) if self._told else output, len(batch))

    def outputs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """Every output of one batch, by its name."""
        self._infer(batch)
        return {name: self._output(at) for at, name in enumerate(self._names)}

    def _output(self, at: int) -> NDArray[np.float32]:
        return np.array(self._request.get_output_tensor(at).data, dtype=np.float32)

    def _infer(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> None:
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
        if self._profiled:
            for info in self._request.profiling_info:
                if str(info.status).endswith("EXECUTED"):
                    precision = _precision(info.exec_type)
                    key = (info.node_name, info.node_type, precision, self._unit)
                    self._averages[key].append(info.real_time.total_seconds() * 1e3)

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
