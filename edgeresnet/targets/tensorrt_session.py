"""A TensorRT engine at work: pinned memory, one stream, the parts of a run timed by the device."""

from __future__ import annotations

import time
from collections import defaultdict
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from edgeresnet.errors import CheckError, InputError
from edgeresnet.targets.cuda import Buffer, Events, check, runtime
from edgeresnet.targets.protocol import Kernel, LayerProfile, RunOptions, layer_profiles
from edgeresnet.targets.tensorrt_bindings import Bindings, log_of
from edgeresnet.targets.tensorrt_layers import EngineLayer, layers_of_json

if TYPE_CHECKING:
    import tensorrt
    from numpy.typing import NDArray

STAGES = ("h2d_ms", "compute_ms", "d2h_ms")
REBUILD = "build the engine again on this device: edgeresnet build BUNDLE."


def deserialize(
    bindings: Bindings, plan: bytes, device: str, *, host_code: bool
) -> tensorrt.ICudaEngine:
    """Load an engine; InputError with TensorRT's own message if it does not fit.

    Args:
        bindings: this process's TensorRT.
        plan: the engine's bytes, already known to be ours.
        device: ``gpu``, or ``dla0`` and so on.
        host_code: allow the code that version-compatible engines carry with them.
    """
    log = log_of(bindings)
    log.take()
    loader: tensorrt.Runtime = bindings.trt.Runtime(log)
    if host_code:
        loader.engine_host_code_allowed = True
    if device.startswith("dla"):
        loader.DLA_core = int(device.removeprefix("dla") or 0)
    engine = loader.deserialize_cuda_engine(plan)
    if engine is None:
        told = "; ".join(text for severity, text in log.take() if severity < 2)
        raise InputError(
            f"TensorRT {bindings.version_text} does not load the engine: {told}", REBUILD
        )
    return engine


class TensorRtSession:
    """A loaded engine.

    Args:
        bindings: this process's TensorRT.
        engine: one image input, one output of logits.
        options: batch, CUDA graph, waiting, profiling.
        unit: the device's name, for the layers.
    """

    emulated = False

    def __init__(
        self, bindings: Bindings, engine: tensorrt.ICudaEngine, options: RunOptions, unit: str
    ) -> None:
        self._bindings, self._engine, self._options, self._unit = bindings, engine, options, unit
        self._cuda = runtime()
        self._input, self._output = self._tensor_names()
        self._buffers: dict[str, Buffer] = {}
        self._batch = 0
        self._graph: Any = None
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._stream = check(self._cuda.cudaStreamCreate())
        self._events = Events(len(STAGES) + 1, spin=options.spin_wait)
        self._context = self._make_context()
        self._profiler = self._make_profiler() if options.profile_layers else None

    def _tensor_names(self) -> tuple[str, str]:
        engine, mode = self._engine, self._bindings.trt.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == mode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1 or len(engine.get_tensor_shape(inputs[0])) != 4:
            raise InputError(
                f"the engine is not an image classifier: inputs {inputs}, outputs {outputs}",
                "give a model with one input of four dimensions and one output.",
            )
        return inputs[0], outputs[0]

    @property
    def _captures(self) -> bool:
        """Whether we capture a CUDA graph; TensorRT-RTX does it itself, and profiling cannot."""
        options = self._options
        return options.cuda_graph and not options.profile_layers and not self._bindings.rtx

    def _make_context(self) -> tensorrt.IExecutionContext:
        if not self._bindings.rtx:
            return self._engine.create_execution_context()
        strategies = self._bindings.trt.CudaGraphStrategy
        whole = self._options.cuda_graph and not self._options.profile_layers
        # The stubs describe TensorRT 10.13, which has no graphs of its own.
        settings: Any = self._engine.create_runtime_config()
        settings.cuda_graph_strategy = (
            strategies.WHOLE_GRAPH_CAPTURE if whole else strategies.DISABLED
        )
        return self._engine.create_execution_context(settings)

    def _make_profiler(self) -> Any:
        base: Any = self._bindings.trt.IProfiler

        class Profiler(base):  # type: ignore[misc]  # known only once it is imported
            def __init__(self) -> None:
                base.__init__(self)
                self.times: defaultdict[str, list[float]] = defaultdict(list)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                self.times[layer_name].append(ms)

        profiler = Profiler()
        self._context.profiler = profiler
        return profiler

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch."""
        batch = int(self._engine.get_tensor_shape(self._input)[0])
        if batch != -1:
            return batch, batch
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._input, 0)
        return int(smallest[0]), int(largest[0])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One input's shape."""
        _, a, b, c = (int(side) for side in self._engine.get_tensor_shape(self._input))
        return a, b, c

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of one batch."""
        if len(batch) != self._batch:
            self._prepare(len(batch))
        images, logits = self._buffers[self._input], self._buffers[self._output]
        np.copyto(images.host[: len(batch)], batch, casting="same_kind")
        self._events.mark(0, self._stream)
        images.to_device(len(batch), self._stream)
        self._events.mark(1, self._stream)
        start = time.perf_counter_ns()
        self._launch()
        self._times["enqueue_ms"].append((time.perf_counter_ns() - start) / 1e6)
        self._events.mark(2, self._stream)
        logits.to_host(len(batch), self._stream)
        self._events.mark(3, self._stream)
        self._events.wait()
        for name, elapsed_ms in zip(STAGES, self._events.between_ms(), strict=True):
            self._times[name].append(elapsed_ms)
        return logits.host[: len(batch)].astype(np.float32)

    def stage_times_ms(self) -> dict[str, float]:
        """Medians so far: copy to the device, compute, copy back, and the host's launch."""
        return {name: float(np.median(times)) for name, times in self._times.items()}

    def _prepare(self, batch: int) -> None:
        """Memory, addresses and graph for batches of this size."""
        smallest, largest = self.batch_sizes
        if not smallest <= batch <= largest:
            raise InputError(
                f"the engine takes batches of {smallest} to {largest}, not {batch}",
                "export with a range, such as --batch 1:8:32, and build again.",
            )
        self._context.set_input_shape(self._input, (batch, *self.input_shape))
        if not self._buffers:
            for name in (self._input, self._output):
                shape = tuple(int(side) for side in self._engine.get_tensor_shape(name))
                kind = self._bindings.trt.nptype(self._engine.get_tensor_dtype(name))
                self._buffers[name] = Buffer((largest, *shape[1:]), np.dtype(kind))
        for name, buffer in self._buffers.items():
            self._context.set_tensor_address(name, buffer.device_address)
        self._drop_graph()
        self._times.clear()
        self._batch = batch
        if self._captures:
            self._graph = self._capture()

    def _capture(self) -> Any:
        """Record the launch of the network, to repeat it as one."""
        # The first launch of a shape allocates, which must not end up in the graph.
        self._enqueue()
        check(self._cuda.cudaStreamSynchronize(self._stream))
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue()
        finally:
            captured = self._cuda.cudaStreamEndCapture(self._stream)
        recorded = check(captured)
        graph = check(self._cuda.cudaGraphInstantiate(recorded, 0))
        check(self._cuda.cudaGraphDestroy(recorded))
        return graph

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            told = "; ".join(text for level, text in log_of(self._bindings).take() if level < 2)
            raise CheckError(f"TensorRT does not run the engine: {told}", REBUILD)

    def _launch(self) -> None:
        if self._graph is None:
            self._enqueue()
        else:
            check(self._cuda.cudaGraphLaunch(self._graph, self._stream))

    def _drop_graph(self) -> None:
        if self._graph is not None:
            check(self._cuda.cudaGraphExecDestroy(self._graph))
            self._graph = None

    def layers(self, runs: int) -> list[LayerProfile]:
        """Median time of each layer in the last runs."""
        if self._profiler is None:
            raise InputError("layers were not timed", "open the session with profile_layers.")
        known = {layer.name: layer for layer in self._inspected()}
        found = {}
        for name, times in self._profiler.times.items():
            layer = known.get(name)
            op, precision = (layer.op, layer.precision) if layer else ("", "")
            unit = layer.unit if layer and layer.unit == "dla" else self._unit
            found[name, op, precision, unit] = times
        return layer_profiles(found, runs)

    def kernels(self) -> list[Kernel]:
        """What the engine's inspector lists; pointwise parts of a layer are not named after it."""
        return [
            Kernel(
                layer.op,
                layer.precision,
                layer.unit if layer.unit == "dla" else self._unit,
                layer.layers if layer.matrix else (),
            )
            for layer in self._inspected()
        ]

    def _inspected(self) -> list[EngineLayer]:
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._bindings.trt.LayerInformationFormat.JSON)
        return layers_of_json(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drop_graph()
        # TensorRT's objects hold device memory, and must go before the stream that they used.
        del self._context, self._engine
        self._events.free()
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        check(self._cuda.cudaStreamDestroy(self._stream))
