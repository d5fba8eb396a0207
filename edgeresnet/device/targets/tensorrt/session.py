"""A TensorRT engine at work: pinned memory, one stream, the phases of a run timed by the device."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.device.targets.classifier import (
    Classifier,
    TensorInfo,
    as_logits,
    check_classifier,
)  # fmt: skip
from edgeresnet.device.targets.outputs import flattened
from edgeresnet.device.targets.protocol import Kernel, LayerProfile, layer_profiles
from edgeresnet.device.targets.tensorrt.bindings import Bindings, tells_memory
from edgeresnet.device.targets.tensorrt.cuda import Buffer, Events, check, out_of_memory, runtime
from edgeresnet.device.targets.tensorrt.deserialize import REBUILD, errors_of
from edgeresnet.device.targets.tensorrt.layers import EngineLayer, layers_of_json
from edgeresnet.errors import CheckError, InputError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    import tensorrt
    from numpy.typing import NDArray

PHASES = ("h2d_ms", "compute_ms", "d2h_ms")


class TensorRtSession(Closing):
    """A loaded engine.

    Args:
        bindings: this process's TensorRT.
        engine: one image input; one output of logits, or those that ``options`` name.
        options: batch, CUDA graph, waiting, profiling.
        unit: the device's name, for the layers.
    """

    emulated = False

    def __init__(
        self, bindings: Bindings, engine: tensorrt.ICudaEngine, options: RunOptions, unit: str
    ) -> None:
        self._bindings, self._engine, self._options, self._unit = bindings, engine, options, unit
        self._cuda = runtime()
        self._form, outputs = self._tensors()
        self._images, self.classes = self._form.images, self._form.classes
        self._input, self._names = self._images.name, [output.name for output in outputs]
        self._buffers: dict[str, Buffer] = {}
        self._batch = 0
        self._graph: Any = None
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        with ExitStack() as stack:
            self._stream = check(self._cuda.cudaStreamCreate())
            stack.callback(self._cuda.cudaStreamDestroy, self._stream)
            self._events = Events(len(PHASES) + 1, spin=options.spin_wait)
            stack.callback(self._events.free)
            self._context = self._make_context()
            self._profiler = self._make_profiler() if options.profile_layers else None
            stack.pop_all()

    def _tensors(self) -> tuple[Classifier, list[TensorInfo]]:
        """How it takes images and answers, and all of its outputs."""
        engine, trt = self._engine, self._bindings.trt
        inputs: list[TensorInfo] = []
        outputs: list[TensorInfo] = []
        for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
            sides = tuple(int(side) for side in engine.get_tensor_shape(name))
            shape = tuple(None if side == -1 else side for side in sides)
            tensor = TensorInfo(name, shape, _dtype(trt, engine.get_tensor_dtype(name)))
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (inputs if is_input else outputs).append(tensor)
        size, told = self._options.image_size, self._options.outputs
        # Of an engine by itself nobody says which of them are meant.
        if len(outputs) > 1 and not told:
            raise InputError(f"the engine has {len(outputs)} outputs", "build it with one.")
        form = check_classifier("the engine", inputs, outputs, size, told)
        return form, outputs

    @property
    def _captures(self) -> bool:
        """Whether we capture a CUDA graph; TensorRT-RTX does it itself, and profiling cannot."""
        options = self._options
        return options.cuda_graph and not options.profile_layers and not self._bindings.rtx

    def _make_context(self) -> tensorrt.IExecutionContext:
        if not self._bindings.rtx:
            return self._made(self._engine.create_execution_context())
        strategies = self._bindings.trt.CudaGraphStrategy
        whole = self._options.cuda_graph and not self._options.profile_layers
        # The stubs describe TensorRT 10.13, which has no graphs of its own.
        settings: Any = self._made(self._engine.create_runtime_config())
        settings.cuda_graph_strategy = (
            strategies.WHOLE_GRAPH_CAPTURE if whole else strategies.DISABLED
        )
        return self._made(self._engine.create_execution_context(settings))

    def _made(self, context: Any) -> Any:
        """What TensorRT has made; where it has not, it says why in its log and returns None."""
        if context is None:
            raise out_of_memory(
                f"TensorRT makes no execution context: {errors_of(self._bindings)}; most often the "
                "GPU has too little free memory"
            )
        return context

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
        assert self._images.shape is not None
        batch = self._images.shape[0]
        if batch is not None:
            return batch, batch
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._input, 0)
        return int(smallest[0]), int(largest[0])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One input's shape."""
        return self._form.input_shape

    @property
    def input_dtype(self) -> str:
        """Data type of the engine's input, by numpy's name."""
        return self._images.dtype

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of one batch."""
        answer = self.outputs(batch)[self._names[self._form.output]]
        return as_logits(flattened(answer) if self._options.outputs else answer, len(batch))

    def outputs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """Every output of one batch, by its name."""
        if len(batch) != self._batch:
            self._prepare(len(batch))
        images = self._buffers[self._input]
        np.copyto(images.host[: len(batch)], batch, casting="same_kind")
        self._events.mark(0, self._stream)
        images.to_device(len(batch), self._stream)
        self._events.mark(1, self._stream)
        start = time.perf_counter_ns()
        self._launch()
        self._times["enqueue_ms"].append((time.perf_counter_ns() - start) / 1e6)
        self._events.mark(2, self._stream)
        for name in self._names:
            self._buffers[name].to_host(len(batch), self._stream)
        self._events.mark(3, self._stream)
        self._events.wait()
        for name, elapsed_ms in zip(PHASES, self._events.between_ms(), strict=True):
            self._times[name].append(elapsed_ms)
        # Copies: the next run writes into the same memory.
        count = len(batch)
        return {n: self._buffers[n].host[:count].astype(np.float32) for n in self._names}

    def phase_times_ms(self) -> dict[str, float]:
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
        # Until all is prepared no size is.
        self._batch = 0
        if not self._context.set_input_shape(self._input, (batch, *self.input_shape)):
            raise CheckError(
                f"TensorRT does not take batches of {batch}: {errors_of(self._bindings)}", REBUILD
            )
        for name in (self._input, *self._names):
            if name not in self._buffers:
                shape = tuple(int(side) for side in self._engine.get_tensor_shape(name))
                kind = self._bindings.trt.nptype(self._engine.get_tensor_dtype(name))
                self._buffers[name] = Buffer((largest, *shape[1:]), np.dtype(kind))
        for name, buffer in self._buffers.items():
            if not self._context.set_tensor_address(name, buffer.device_address):
                raise CheckError(
                    f"TensorRT does not take memory for {name}: {errors_of(self._bindings)}",
                    REBUILD,
                )
        self._drop_graph()
        self._times.clear()
        if self._captures:
            self._graph = self._capture()
        self._batch = batch

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
        try:
            return check(self._cuda.cudaGraphInstantiate(recorded, 0))
        finally:
            self._cuda.cudaGraphDestroy(recorded)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            told = errors_of(self._bindings)
            cause = f"TensorRT does not run the engine: {told}"
            raise out_of_memory(cause) if tells_memory(told) else CheckError(cause, REBUILD)

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
        times_ms = {}
        for name, times in self._profiler.times.items():
            layer = known.get(name)
            op, precision = (layer.op, layer.precision) if layer else ("", "")
            unit = layer.unit if layer and layer.unit == "dla" else self._unit
            times_ms[name, op, precision, unit] = times
        return layer_profiles(times_ms, runs)

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

    def close(self) -> None:
        """Give back what is held."""
        # In reverse order, and each even where another fails: TensorRT's objects hold device
        # memory, and must go before the stream that they used.
        with ExitStack() as stack:
            stack.callback(lambda: check(self._cuda.cudaStreamDestroy(self._stream)))
            for buffer in self._buffers.values():
                stack.callback(buffer.free)
            stack.callback(self._events.free)
            self._drop_graph()
            del self._context, self._engine
        self._buffers.clear()


def _dtype(trt: Any, dtype: Any) -> str:
    """numpy's name of a type; TensorRT's own where numpy has none, as for bfloat16."""
    try:
        return str(np.dtype(trt.nptype(dtype)))
    except TypeError:
        return str(dtype)
