"""CUDA and a TensorRT engine made of numpy, for what can be seen of a session without a GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

SIDE, CLASSES, LARGEST = 4, 3, 8
LAYERS = {
    "Layers": [
        {
            "Name": "conv1",
            "LayerType": "conv",
            "Inputs": [{"Datatype": "Int8"}],
            "Outputs": [{"Datatype": "Int8"}],
        }
    ]
}


# Functions of the runtime API that only have to be called, and how many arguments they take; the
# first ones return a handle. Names and arguments are cuda-python's.
CREATING = {"cudaStreamCreate": 0, "cudaEventCreateWithFlags": 1}
CALLED = {
    "cudaEventDestroy": 1,
    "cudaEventRecord": 2,
    "cudaEventSynchronize": 1,
    "cudaGraphDestroy": 1,
    "cudaGraphExecDestroy": 1,
    "cudaStreamDestroy": 1,
    "cudaStreamSynchronize": 1,
}


class Status(int):
    """CUDA's error codes are integers with a name."""

    name = "cudaErrorTest"


class NoMemory(Status):
    """What CUDA answers when a GPU's memory does not suffice."""

    name = "cudaErrorMemoryAllocation"


class FakeCuda:
    """The runtime API that a session uses: memory is the host's, a stream runs at once.

    While a stream is captured nothing runs; a graph's launch runs what was captured.
    """

    cudaEventDefault, cudaEventBlockingSync = 0, 1  # noqa: N815 - CUDA's own names
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    cudaError_t = SimpleNamespace(cudaErrorNotReady=600)  # noqa: N815

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.calls: list[str] = []
        self.captured: list[Callable[[], None]] | None = None
        self.spins = 0
        self.integrated = False
        # Calls that fail, and what they answer.
        self.failing: dict[str, Status] = {}

    def __getattr__(self, name: str) -> Any:
        """One of the functions that only have to be called: noted, and told to have worked.

        Raises:
            AttributeError: a name that CUDA's runtime does not have, or that nobody has used yet.
        """
        if name not in {**CREATING, **CALLED}:
            raise AttributeError(f"the fake CUDA has no {name}: add it if CUDA has it")

        def call(*arguments: Any) -> tuple[Any, ...]:
            if len(arguments) != {**CREATING, **CALLED}[name]:
                raise TypeError(f"{name} was called with {len(arguments)} arguments")
            self.calls.append(name)
            if name in self.failing:
                return (self.failing[name], None)
            return (Status(0), len(self.calls)) if name in CREATING else (Status(0),)

        return call

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:  # noqa: N802
        return Status(0), SimpleNamespace(integrated=self.integrated)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        if "cudaMalloc" in self.failing:
            return self.failing["cudaMalloc"], None
        return self.cudaMallocHost(size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        buffer = (ctypes.c_byte * size)()
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        return Status(0), address

    def cudaFree(self, address: int) -> tuple[Any, ...]:  # noqa: N802
        del self.memory[address]
        return (Status(0),)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(  # noqa: N802
        self, to: int, source: int, size: int, kind: int, stream: Any
    ) -> tuple[Any, ...]:
        assert self.captured is None
        assert size <= len(self.memory[source])
        ctypes.memmove(to, source, size)
        self.calls.append(f"copy{kind}")
        return (Status(0),)

    def cudaEventElapsedTime(self, first: int, second: int) -> tuple[Any, ...]:  # noqa: N802
        return Status(0), float(second - first)

    def cudaEventQuery(self, event: int) -> tuple[Any, ...]:  # noqa: N802
        self.spins += 1
        return (Status(600 if self.spins % 3 else 0),)

    def cudaStreamBeginCapture(self, stream: Any, mode: int) -> tuple[Any, ...]:  # noqa: N802
        self.captured = []
        return (Status(0),)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:  # noqa: N802
        graph, self.captured = self.captured, None
        return Status(0), graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:  # noqa: N802
        return self.failing.get("cudaGraphInstantiate", Status(0)), graph

    def cudaGraphLaunch(self, graph: Any, stream: Any) -> tuple[Any, ...]:  # noqa: N802
        self.calls.append("graph")
        for work in graph:
            work()
        return (Status(0),)


class FakeContext:
    """Computes logits[n, c] = c + the sum of image n; knows only addresses, as TensorRT does."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.addresses: dict[str, int] = {}
        self.batch = 0
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert (name, shape[1:]) == ("images", (3, SIDE, SIDE))
        self.batch = shape[0]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.cuda.calls.append("enqueue")
        if self.cuda.captured is None:
            self._compute()
        else:
            self.cuda.captured.append(self._compute)
        if self.profiler is not None:
            self.profiler.report_layer_time("conv1", 0.5)
        return True

    def _compute(self) -> None:
        images = self._array("images", (self.batch, 3, SIDE, SIDE))
        logits = self._array("logits", (self.batch, CLASSES))
        logits[:] = images.sum((1, 2, 3))[:, None] + np.arange(CLASSES)

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        buffer = self.cuda.memory[self.addresses[name]]
        size = int(np.prod(shape))
        return np.frombuffer(buffer, np.float32)[:size].reshape(shape)


class FakeEngine:
    """One open batch of images in, logits out."""

    num_io_tensors = 2

    def __init__(self, cuda: FakeCuda, *, too_large: bool = False) -> None:
        self.cuda, self.too_large = cuda, too_large

    def get_tensor_name(self, index: int) -> str:
        return ("images", "logits")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "images" else "output"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, SIDE, SIDE) if name == "images" else (-1, CLASSES)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(size, 3, SIDE, SIDE) for size in (1, 4, LARGEST)]

    def get_tensor_dtype(self, name: str) -> type[np.float32]:
        return np.float32

    def create_execution_context(self, settings: Any = None) -> FakeContext | None:
        self.settings = settings
        if self.too_large:
            return None
        return FakeContext(self.cuda)

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(cuda_graph_strategy=None)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda kind: json.dumps(LAYERS))


class Profiler:
    """Base of profilers, as TensorRT has it."""


class Logger:
    """Base of logs, as TensorRT has it."""


class Module(SimpleNamespace):
    """Hashable, as modules are."""

    __hash__ = object.__hash__  # type: ignore[assignment]


TRT = Module(
    ILogger=Logger,
    TensorIOMode=SimpleNamespace(INPUT="input"),
    nptype=lambda kind: kind,
    IProfiler=Profiler,
    LayerInformationFormat=SimpleNamespace(JSON="json"),
    CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="disabled"),
)
