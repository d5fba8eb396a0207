"""Our plain calibration against ONNX Runtime's and NNCF's: the same network and the same images.

Run: python -m tests.benchmarks.ptq_peers [--calibration N] [--limit N] [--weight-bits B] CKPT...

CKPT is a float checkpoint that remembers its data. Each quantizer gets the same calibration images,
each result answers the same validation images in its own runtime. Seconds are of processor time,
which a busy machine changes little: from the network in memory to an INT8 model file, its proof
and all answering aside. Exit 1 where ours may lose more than `MARGIN` of top-1 against another
(the lower end of the paired 95 % interval), or takes more than `SLOWER` times NNCF's time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import openvino
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from rich.console import Console
from rich.table import Table

from edgeresnet.api.opening import load_checkpoint
from edgeresnet.device.data.dataset import Dataset, batches
from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.device.machine.saturation import saturates_here
from edgeresnet.device.measure.accuracy import Predictions, paired_difference, predict
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.host.export.export_bundle import folded, write_model
from edgeresnet.host.export.saturation import narrow, saturating_layers
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.quantization.calibration_images import CalibrationImages
from edgeresnet.host.quantization.reference import reference_of
from edgeresnet.host.quantization.rungs.ptq import ptq
from edgeresnet.host.quantization.rungs.rung import Work
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions

MARGIN, SLOWER = -0.003, 1.5
OURS, FLOAT, NNCF = "ours", "float", "NNCF"


@dataclass(frozen=True, eq=False)
class Case:
    """A network to be quantized.

    Attributes:
        work: ours, of method ptq.
        folder: for model files; ``float.onnx`` and ``float.xml`` are there.
        images: that calibrate, (1, 3, H, W) float32 each, normalized.
    """

    work: Work
    folder: Path
    images: list[np.ndarray]

    @property
    def checkpoint(self) -> Checkpoint:
        """The float one."""
        return self.work.checkpoint


# Writes an INT8 model; returns the target that runs it and its file.
Quantizer = Callable[[Case], tuple[str, Path]]


def written(case: Case, model: Any, target: str, precision: str) -> Path:
    """The first file of a network as the target's model, as an export writes it."""
    spec, options = case.checkpoint.input_spec, ExportOptions()
    folder = case.folder / f"{target}-{precision}"
    folder.mkdir(exist_ok=True)
    _, files = write_model(model, spec, target, precision, folder, options)
    return next(iter(files.values()))


def ours(case: Case) -> tuple[str, Path]:
    """The plain rung, with the weights that an export for this machine has."""
    model = ptq(case.work, case.work.start).model
    if saturates_here():
        narrow(model, saturating_layers(model))
    return "onnx", written(case, model, "onnx", "int8")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, case: Case) -> None:
        name = onnx.load(case.folder / "onnx-fp32" / "model.onnx").graph.input[0].name
        self._feeds: Iterator[dict[str, np.ndarray]] = ({name: image} for image in case.images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def onnxruntime_by(method: CalibrationMethod) -> Quantizer:
    """Its static quantization as its documentation advises for convolutions on this processor."""

    def quantizer(case: Case) -> tuple[str, Path]:
        prepared = case.folder / "prepared.onnx"
        quant_pre_process(case.folder / "onnx-fp32" / "model.onnx", prepared)
        path = case.folder / f"onnxruntime-{method.name}.onnx"
        quantize_static(
            prepared, path, _Reader(case), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=saturates_here(), activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=method,
        )  # fmt: skip
        return "onnx", path

    return quantizer


def nncf_with(*, fast: bool) -> Quantizer:
    """Its post-training quantization; fast or exact bias correction.

    Where sums of 8-bit products saturate, weights have 7 bits in every layer: by itself it does so
    in the first alone.
    """
    fix = nncf.OverflowFix.ENABLE if saturates_here() else nncf.OverflowFix.DISABLE

    def quantizer(case: Case) -> tuple[str, Path]:
        model = openvino.Core().read_model(case.folder / "openvino-fp32" / "model.xml")
        images = nncf.Dataset(case.images)
        quantized = nncf.quantize(
            model, images, subset_size=len(case.images), fast_bias_correction=fast,
            target_device=nncf.TargetDevice.CPU,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )  # fmt: skip
        path = case.folder / f"nncf-{fast}.xml"
        openvino.save_model(quantized, path, compress_to_fp16=False)
        return "openvino", path

    return quantizer


PEERS: dict[str, Quantizer] = {
    "ONNX Runtime, MinMax": onnxruntime_by(CalibrationMethod.MinMax),
    "ONNX Runtime, Entropy": onnxruntime_by(CalibrationMethod.Entropy),
    "ONNX Runtime, Percentile": onnxruntime_by(CalibrationMethod.Percentile),
    f"{NNCF}, fast bias correction": nncf_with(fast=True),
    f"{NNCF}, bias correction": nncf_with(fast=False),
}


def opened(path: Path, folder: Path, told: argparse.Namespace) -> tuple[Case, Dataset]:
    """A checkpoint's case, and its validation images."""
    context = TaskContext(limit=told.limit)
    checkpoint, train_set, val_set = open_splits_for(load_checkpoint(path), context)
    context = replace(context, data=checkpoint.data)
    options = QuantizeOptions(method="ptq", weight_bits=told.weight_bits)
    calibration = CalibrationImages(train_set, options.seed, told.calibration)
    reference = reference_of(checkpoint, val_set)
    work = Work(checkpoint, reference, train_set, val_set, options, context, calibration)
    inputs = (x for x, _ in batches(calibration.chosen, checkpoint.input_spec, 1))
    case = Case(work, folder, list(inputs))
    for target in ("onnx", "openvino"):
        written(case, folded(checkpoint), target, "fp32")
    return case, val_set


@dataclass(frozen=True, eq=False)
class Row:
    """What a quantizer came to."""

    name: str
    seconds: float
    answers: Predictions


def rows_of(case: Case, val_set: Dataset) -> list[Row]:
    """Float, ours, and each peer's."""

    def answered(name: str, seconds: float, target: str, path: Path) -> Row:
        with TARGETS[target].load(path, "cpu", RunOptions()) as session:
            return Row(name, seconds, predict(session, val_set, case.checkpoint.input_spec))

    rows = [answered(FLOAT, 0.0, "onnx", case.folder / "onnx-fp32" / "model.onnx")]
    # What is loaded or compiled once in a process is nobody's time: a small run comes first.
    few = replace(case, work=_with_few(case.work), images=case.images[:2])
    for quantizer in (ours, onnxruntime_by(CalibrationMethod.MinMax), nncf_with(fast=True)):
        quantizer(few)
    for name, quantizer in {OURS: ours, **PEERS}.items():
        begun = time.process_time()
        target, path = quantizer(case)
        rows.append(answered(name, time.process_time() - begun, target, path))
    return rows


def _with_few(work: Work) -> Work:
    return replace(work, images=replace(work.images, count=2))


def shown(title: str, rows: list[Row], console: Console) -> bool:
    """Print a table; whether ours is as good and as quick as it is to be."""
    table = Table("quantizer", "top-1", "ours - it", "95 %", "processor s", box=None, title=title)
    found = {row.name: row for row in rows}
    own, good = found[OURS], True
    for row in rows:
        lead = paired_difference(row.answers.correct(), own.answers.correct())
        interval = f"{lead.low:+.4f} to {lead.high:+.4f}"
        cells = ("", "") if row is own else (f"{lead.value:+.4f}", interval)
        top1 = f"{row.answers.correct().mean():.4f}"
        table.add_row(row.name, top1, *cells, f"{row.seconds:.1f}" if row.seconds else "")
        good &= row.name in (OURS, FLOAT) or lead.low >= MARGIN
    quickest = min(row.seconds for row in rows if row.name.startswith(NNCF))
    console.print(table)
    console.print(f"ours takes {own.seconds / quickest:.2f} times NNCF's quickest\n")
    return good and own.seconds <= SLOWER * quickest


def main() -> int:
    """A table for each checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ptq_peers")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--weight-bits", type=int, default=8)
    told = parser.parse_args()
    console, good = Console(), True
    saturating = "saturate" if saturates_here() else "do not saturate"
    console.print(f"{cpu_name()}, where 8-bit products {saturating}")
    for path in told.checkpoints:
        with tempfile.TemporaryDirectory() as name:
            case, val_set = opened(path, Path(name), told)
            title = f"{path.stem}: {case.checkpoint.arch}, {len(val_set)} images"
            good &= shown(title, rows_of(case, val_set), console)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
