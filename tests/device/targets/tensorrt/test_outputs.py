"""An engine of several outputs, on a fake device: each has memory of its own, and all come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeresnet.device.targets.tensorrt import cuda
from edgeresnet.device.targets.tensorrt import session as tensorrt_session
from edgeresnet.device.targets.tensorrt.bindings import Bindings
from edgeresnet.device.targets.tensorrt.session import TensorRtSession
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import RunOptions
from tests.fake_cuda import CLASSES, SIDE, TRT, FakeContext, FakeCuda, FakeEngine

NAMES = ("images", "logits", "C2")


class LevelContext(FakeContext):
    """Gives, beside logits, twice the image's first channel as a level of one channel."""

    def _compute(self) -> None:
        super()._compute()
        images = self._array("images", (self.batch, 3, SIDE, SIDE))
        self._array("C2", (self.batch, 1, SIDE, SIDE))[:] = 2 * images[:, :1]


class LevelEngine(FakeEngine):
    """Logits, and a level."""

    num_io_tensors = 3

    def get_tensor_name(self, index: int) -> str:
        return NAMES[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 1, SIDE, SIDE) if name == "C2" else super().get_tensor_shape(name)

    def create_execution_context(self, settings: Any = None) -> FakeContext:
        return LevelContext(self.cuda)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for module in (cuda, tensorrt_session):
        monkeypatch.setattr(module, "runtime", lambda: fake)
    return fake


def opened(device: FakeCuda, outputs: tuple[str, ...]) -> TensorRtSession:
    bindings = Bindings("tensorrt", TRT, (10, 3, 0))
    return TensorRtSession(bindings, LevelEngine(device), RunOptions(outputs=outputs), "gpu")  # type: ignore[arg-type]


def images(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


def test_outputs_gives_every_output_when_batches_change(device: FakeCuda) -> None:
    with opened(device, ("logits", "C2")) as session:
        for seed, count in enumerate((4, 1, 8)):
            batch = images(count, seed)
            found = session.outputs(batch)
            logits = batch.sum((1, 2, 3))[:, None] + np.arange(CLASSES, dtype=np.float32)
            assert np.allclose(found["logits"], logits, atol=1e-4)
            assert np.array_equal(found["C2"], 2 * batch[:, :1])
            assert np.allclose(session.run(batch), logits, atol=1e-4)
    assert not device.memory


def test_session_refuses_an_engine_of_several_outputs_when_none_are_told(device: FakeCuda) -> None:
    with pytest.raises(InputError, match="the engine has 2 outputs"):
        opened(device, ())


def test_session_refuses_an_engine_of_other_outputs_than_are_told(device: FakeCuda) -> None:
    with pytest.raises(InputError, match="its manifest tells logits, C3"):
        opened(device, ("logits", "C3"))
