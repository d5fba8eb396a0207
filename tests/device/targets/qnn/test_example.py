"""The example of a Hexagon bundle answers as edgeresnet does, on the emulator of the NPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.examples import assert_example_answers_as_edgeresnet
from tests.small_checkpoints import make_checkpoint

HERE = target_of("qnn").available()
pytestmark = pytest.mark.skipif(not HERE.usable, reason=f"no emulator here: {HERE.reason}")
# The emulator takes its time for each channel.
NARROW = Widths(16, (16, 16, 16, 16), (((16,), (16,)),) * 4)


@pytest.mark.parametrize(
    ("precision", "batch"), [("int8", 4), pytest.param("fp16", 1, marks=pytest.mark.slow)]
)
def test_example_answers_as_edgeresnet_on_the_emulator(
    tmp_path: Path, precision: str, batch: int
) -> None:
    source = make_checkpoint(size=8, widths=NARROW)
    if precision == "int8":
        options = QuantizeOptions(method="ptq", calibration_images=32)
        source, _ = quantize_checkpoint(
            source, options, context=TaskContext(data="digits", limit=64)
        )
    export_bundle(
        source, target="qnn", precision=precision, out_dir=tmp_path / "b",
        options=ExportOptions(batch=BatchRange(batch, batch, batch)),
    )  # fmt: skip
    assert_example_answers_as_edgeresnet(tmp_path / "b", tmp_path)
