"""TensorRT and CUDA for a process of its own: an engine that ONNX Runtime computes.

Two modules of theirs names import it: `write_modules`. Nothing of edgeresnet is needed.
"""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from tests.fake_cuda import FakeCuda, Status

VERSION, CAPABILITY = "10.3.0", (8, 7)
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Cuda(FakeCuda):
    """Memory on the device alone; what is copied from and to is any memory of the process."""

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:  # noqa: N802
        return Status(0), SimpleNamespace(major=CAPABILITY[0], minor=CAPABILITY[1])

    def cudaMemcpyAsync(  # noqa: N802
        self, to: int, source: int, size: int, kind: int, stream: Any
    ) -> tuple[Any, ...]:
        on_device = self.memory[
            to if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else source
        ]
        assert size <= len(on_device)
        ctypes.memmove(to, source, size)
        return (Status(0),)


CUDA = Cuda()


class Context:
    """Reads and writes the memory that it was given addresses of."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses = engine, dict[str, int]()
        self.shape: tuple[int, ...] | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        known = self.engine.get_tensor_shape(name)
        self.shape = shape
        return all(side in (-1, wanted) for side, wanted in zip(known, shape, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert isinstance(address, int)
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        session = self.engine.session
        (images,) = session.get_inputs()
        assert self.shape is not None
        given = self._array(images.name, self.shape)
        answers = session.run(None, {images.name: given})
        for output, answer in zip(session.get_outputs(), answers, strict=True):
            self._array(output.name, answer.shape)[:] = answer
        return True

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        memory = CUDA.memory[self.addresses[name]]
        dtype = self.engine.get_tensor_dtype(name)
        return np.frombuffer(memory, dtype)[: int(np.prod(shape))].reshape(shape)


class Engine:
    """A plan is the path of the .onnx file that it was made of."""

    def __init__(self, plan: bytes) -> None:
        self.session = onnxruntime.InferenceSession(
            plan.decode(), providers=["CPUExecutionProvider"]
        )
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, index: int) -> str:
        return [*self.tensors][index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == self.session.get_inputs()[0].name else "output"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(s if isinstance(s, int) else -1 for s in self.tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return TYPES[self.tensors[name].type]

    def create_execution_context(self) -> Context:
        return Context(self)


class Logger:
    """As TensorRT has it, with a level."""

    ERROR = 1

    def __init__(self, level: int) -> None:
        self.level = level


class Runtime:
    """Loads engines."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine:
        return Engine(plan)


def write_modules(folder: Path) -> Path:
    """Modules ``tensorrt`` and ``cuda.bindings.runtime`` in a folder to look for modules in."""
    (folder / "cuda" / "bindings").mkdir(parents=True)
    (folder / "tensorrt.py").write_text(
        "from types import SimpleNamespace\n"
        "from tests.fake_tensorrt import VERSION as __version__, Logger, Runtime\n"
        "TensorIOMode = SimpleNamespace(INPUT='input')\n"
        "nptype = lambda dtype: dtype\n"
    )
    # Of the tests' own package only these: it imports edgeresnet.
    (folder / "tests").mkdir()
    for name in ("fake_cuda.py", "fake_tensorrt.py"):
        shutil.copy(Path(__file__).with_name(name), folder / "tests")
    for name in ("tests", "cuda", "cuda/bindings"):
        (folder / name / "__init__.py").touch()
    (folder / "cuda" / "bindings" / "runtime.py").write_text(
        "from tests.fake_tensorrt import CUDA\n"
        "def __getattr__(name):\n"
        "    return getattr(CUDA, name)\n"
    )
    return folder
