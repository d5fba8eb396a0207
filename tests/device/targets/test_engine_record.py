"""Records of engines are a stranger's too, where the bundle is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from edgeresnet.device.targets.engine_record import (
    describe_engines,
    engine_fits,
    read_kernels,
    write_engine,
)
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.errors import InputError
from tests.hostile.golden import RECORDS

FACTS = {"device": "npu", "openvino": "2026.1"}
KERNEL = Kernel("Conv", "int8", "npu", ("conv1",))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"model")
    (tmp_path / "engines").mkdir()
    facts = FACTS | {"layers": [asdict(KERNEL)]}
    return write_engine(
        tmp_path / "engines" / "npu.blob", b"engine", tmp_path / "model.onnx", facts
    )


def test_a_written_record_is_read(engine: Path) -> None:
    assert engine_fits(engine, engine.parents[1] / "model.onnx", FACTS) is None
    assert read_kernels(engine) == [KERNEL]
    (told,) = describe_engines(engine.parent)
    assert (told["file"], told["device"], told["openvino"]) == ("npu.blob", "npu", "2026.1")


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_none_is_refused(engine: Path, name: str) -> None:
    engine.with_name("npu.blob.json").write_bytes(RECORDS[name])
    assert "engine record" in str(engine_fits(engine, engine.parents[1] / "model.onnx", FACTS))
    with pytest.raises(InputError, match="engine record"):
        describe_engines(engine.parent)


def test_a_record_of_no_kernels_is_refused(engine: Path) -> None:
    record = engine.with_name("npu.blob.json")
    record.write_text(record.read_text().replace('"unit": "npu"', '"unit": 5'))
    with pytest.raises(InputError, match=r"layers\.0\.unit"):
        read_kernels(engine)


def test_an_engine_is_written_through_no_link(engine: Path) -> None:
    mine = engine.parents[1] / "mine"
    mine.write_text("mine")
    for path in (engine, engine.with_name("npu.blob.json")):
        path.unlink()
        path.symlink_to(mine)
    write_engine(engine, b"new", engine.parents[1] / "model.onnx", FACTS)
    assert mine.read_text() == "mine"
    assert engine.read_bytes() == b"new"
    assert not engine.is_symlink()
