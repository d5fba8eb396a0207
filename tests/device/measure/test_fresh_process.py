"""A model timed in a process of its own."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure.fresh_process import FreshModel, fresh_p50_ms
from edgeresnet.device.session import ModelSource
from edgeresnet.errors import InputError, MissingError
from edgeresnet.settings.measuring import RunOptions

ONE_THREAD = RunOptions(threads=1)


def test_fresh_p50_is_that_of_the_model_when_it_loads(files: Path) -> None:
    ms = fresh_p50_ms(files / "onnx-int8" / "model.onnx", "onnx", "cpu", threads=1)
    assert 0.001 < ms < 1000


def test_fresh_model_raises_what_opening_raises(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="ONNX Runtime cannot load") as caught:
        fresh_p50_ms(tmp_path / "model.onnx", "onnx", "cpu")
    assert caught.value.fix
    with pytest.raises(InputError, match="nowhere does not exist"):
        FreshModel(ModelSource(tmp_path / "nowhere", opener=open_model))


def test_fresh_model_has_its_own_process_memory_and_first_run(files: Path) -> None:
    source = ModelSource(files / "onnx-int8", options=ONE_THREAD, opener=open_model)
    with closing(FreshModel(source)) as model:
        assert model.first_ms is not None
        assert model.load_ms is not None
        assert len(model.block(7)) == 7
        cold = model.cold(3)
        assert cold is not None
        assert cold.shape == (3,)
        own = model.peak_memory_mib()
    # PyTorch alone takes more than ONNX Runtime with this model.
    with closing(
        FreshModel(ModelSource(files / "float.pt", options=ONE_THREAD, opener=open_model))
    ) as model:
        assert own is not None
        assert (model.peak_memory_mib() or 0.0) > own + 50


def test_fresh_model_says_so_when_its_process_ends(files: Path) -> None:
    with closing(
        FreshModel(ModelSource(files / "onnx-int8", options=ONE_THREAD, opener=open_model))
    ) as model:
        pid = model._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MissingError, match="time onnx-int8 ended with exit code -9"):
            model.block(3)


def test_fresh_model_ends_with_the_process_that_asks(files: Path) -> None:
    model = FreshModel(ModelSource(files / "onnx-int8", options=ONE_THREAD, opener=open_model))
    model.close()
    assert model._process.exitcode == 0
