"""Stand-ins for what tests should not wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from edgeresnet.device.session import Opened
from edgeresnet.device.targets.protocol import LARGEST_BATCH, Kernel, LayerProfile
from edgeresnet.settings.inputs import InputSpec


class FakeSession:
    """A session made of a numpy function; remembers the batch sizes that it was given."""

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        *,
        batch_sizes: tuple[int, int] = (1, LARGEST_BATCH),
        seconds: float = 0.0,
        size: int = 8,
        emulated: bool = False,
        classes: int | None = None,
    ) -> None:
        self.emulated, self.classes, self.input_dtype = emulated, classes, "float32"
        self.function, self.batch_sizes, self.seconds = function, batch_sizes, seconds
        self.input_shape = (3, size, size)
        self.seen: list[int] = []

    def run(self, batch: Any) -> Any:
        smallest, largest = self.batch_sizes
        assert smallest <= len(batch) <= largest
        self.seen.append(len(batch))
        if self.seconds:
            time.sleep(self.seconds)
        return self.function(batch).astype(np.float32)

    def kernels(self) -> list[Kernel]:
        return [Kernel("Conv", "fp32", "cpu", ("conv1",))]

    def layers(self, runs: int) -> list[LayerProfile]:
        return [LayerProfile("conv1", "Conv", "fp32", "cpu", 1.0)]

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *args: object) -> None:
        pass


class FakeDataset:
    """Grey images whose brightness is their label, times 20."""

    def __init__(self, labels: list[int], classes: int = 10, size: int = 8) -> None:
        self.name, self.split = "fake", "val"
        self.classes = tuple(f"class-{i}" for i in range(classes))
        self.labels = np.array(labels, np.int64)
        self.skipped: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.size = size

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (self.size, self.size), (int(self.labels[index]) * 20,) * 3)

    def file_name(self, index: int) -> str:
        return f"image-{index}"

    def subset(self, indices: Any) -> FakeDataset:
        return FakeDataset([int(self.labels[i]) for i in indices], len(self.classes), self.size)

    def relabelled(self, classes: tuple[str, ...], labels: Any) -> FakeDataset:
        # Its images are made of its labels.
        raise NotImplementedError


def read_brightness(spec: InputSpec, wrong: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Logits that name the right class of `FakeDataset`; of every ``wrong``-th image the next."""
    count = 0

    def answer(batch: np.ndarray) -> np.ndarray:
        nonlocal count
        value = (batch[:, 0, 0, 0] * spec.std[0] + spec.mean[0]) * 255
        label = np.rint(value / 20).astype(int)
        for i in range(len(label)):
            count += 1
            if wrong and count % wrong == 0:
                label[i] = (label[i] + 1) % 10
        return np.eye(10)[label]

    return answer


def opened(name: str, session: FakeSession, spec: InputSpec, target: str = "onnx") -> Opened:
    """A fake session as `edgeresnet.api.opening.open_model` yields it."""
    return Opened(name, target, "cpu", "fp32", session, spec, False, None, None, 1.0)
