"""CUDA through cuda-python: the GPU that is here, and memory, streams, events and graphs."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.errors import CheckError, MissingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEMORY_ERRORS = ("cudaErrorMemoryAllocation",)
FIX = (
    "install NVIDIA's driver, and cuda-python for its CUDA version: on a Jetson pip install "
    "'edgeresnet[jetson]', elsewhere pip install cuda-python."
)


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        compute_capability: as ``8.7``.
        driver: the newest CUDA version that the driver supports, as ``12.6``.
        integrated: whether it shares memory with the processor, as on a Jetson.
    """

    name: str
    compute_capability: str
    driver: str
    memory_mib: int
    integrated: bool


def runtime() -> Any:
    """The module of CUDA's runtime API; MissingError if cuda-python is not here."""
    try:
        from cuda.bindings import runtime as module
    except ImportError:
        try:
            # cuda-python before 12.6, as beside JetPack 6's TensorRT.
            from cuda import cudart as module
        except ImportError as error:
            raise MissingError(f"running TensorRT needs cuda-python: {error}", FIX) from error
    return module


def check(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call, or the values if there are several; CheckError if it failed."""
    error, *values = result
    if int(error) != 0:
        if error.name in MEMORY_ERRORS:
            raise out_of_memory(f"CUDA failed: {error.name}; the GPU has too little free memory")
        raise CheckError(
            f"CUDA failed: {error.name}",
            "look at the driver's log (dmesg), and for memory at what else runs on the GPU.",
        )
    return values[0] if len(values) == 1 else tuple(values)


def out_of_memory(cause: str) -> CheckError:
    """The error of a GPU whose memory does not suffice: says what takes it, and what needs less."""
    less = "build an engine that takes less: edgeresnet build BUNDLE --workspace-mib 256."
    if _shares_memory():
        return CheckError(
            cause,
            "processor and GPU share one unified memory here: end other programs (free -m shows "
            f"what is left), or {less}",
        )
    return CheckError(cause, f"end what else runs on the GPU, or {less}")


def _shares_memory() -> bool:
    """`Gpu.integrated`, asked so that a GPU in trouble can raise no further error."""
    try:
        status, *facts = runtime().cudaGetDeviceProperties(0)
    except MissingError:
        return False
    return int(status) == 0 and bool(facts) and bool(facts[0].integrated)


def find_gpu() -> Gpu | str:
    """The first GPU, or why there is none."""
    try:
        cuda = runtime()
    except MissingError as error:
        return error.cause
    status, count = cuda.cudaGetDeviceCount()
    if int(status) != 0 or not count:
        return f"no NVIDIA GPU is here, or its driver is too old ({status.name})"
    facts = check(cuda.cudaGetDeviceProperties(0))
    version = check(cuda.cudaDriverGetVersion())
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    return Gpu(
        name.strip("\0 "),
        f"{facts.major}.{facts.minor}",
        f"{version // 1000}.{version % 1000 // 10}",
        int(facts.totalGlobalMem) // 2**20,
        bool(facts.integrated),
    )


def need_gpu() -> Gpu:
    """The first GPU; MissingError if there is none."""
    gpu = find_gpu()
    if isinstance(gpu, str):
        raise MissingError(gpu, FIX)
    return gpu


class Buffer:
    """A tensor's place in pinned host memory and on the device.

    Args:
        shape: of the largest batch.
        dtype: of an element.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._cuda = runtime()
        self.bytes_each = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        size = max(1, shape[0] * self.bytes_each)
        self._host_address = int(check(self._cuda.cudaMallocHost(size)))
        try:
            self.device_address = int(check(self._cuda.cudaMalloc(size)))
        except CheckError:
            self._cuda.cudaFreeHost(self._host_address)
            raise
        memory = memoryview((ctypes.c_byte * size).from_address(self._host_address)).cast("B")
        self.host: NDArray[Any] = np.ndarray(shape, dtype, buffer=memory)

    def to_device(self, batch: int, stream: Any) -> None:
        """Queue the copy of the first ``batch`` entries to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        size = batch * self.bytes_each
        check(
            self._cuda.cudaMemcpyAsync(self.device_address, self._host_address, size, kind, stream)
        )

    def to_host(self, batch: int, stream: Any) -> None:
        """Queue the copy of the first ``batch`` entries to the host."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        size = batch * self.bytes_each
        check(
            self._cuda.cudaMemcpyAsync(self._host_address, self.device_address, size, kind, stream)
        )

    def free(self) -> None:
        """Give both memories back."""
        try:
            check(self._cuda.cudaFree(self.device_address))
        finally:
            check(self._cuda.cudaFreeHost(self._host_address))


class Events:
    """Marks in a stream, and the device's own times between them.

    Args:
        count: of marks.
        spin: wait for the last by polling, which answers sooner and keeps a core busy.
    """

    def __init__(self, count: int, *, spin: bool) -> None:
        self._cuda = runtime()
        plain = self._cuda.cudaEventDefault
        last = plain if spin else self._cuda.cudaEventBlockingSync
        flags = [plain] * (count - 1) + [last]
        self._events: list[Any] = []
        self._spin = spin
        try:
            for flag in flags:
                self._events.append(check(self._cuda.cudaEventCreateWithFlags(int(flag))))
        except CheckError:
            self.free()
            raise

    def mark(self, index: int, stream: Any) -> None:
        """Put a mark into the stream."""
        check(self._cuda.cudaEventRecord(self._events[index], stream))

    def wait(self) -> None:
        """Return when the device has reached the last mark."""
        if self._spin:
            not_ready = int(self._cuda.cudaError_t.cudaErrorNotReady)
            while int(self._cuda.cudaEventQuery(self._events[-1])[0]) == not_ready:
                pass
        check(self._cuda.cudaEventSynchronize(self._events[-1]))

    def between_ms(self) -> list[float]:
        """Milliseconds from each mark to the next."""
        pairs = zip(self._events, self._events[1:], strict=False)
        return [float(check(self._cuda.cudaEventElapsedTime(a, b))) for a, b in pairs]

    def free(self) -> None:
        """Give the events back."""
        for event in self._events:
            check(self._cuda.cudaEventDestroy(event))
