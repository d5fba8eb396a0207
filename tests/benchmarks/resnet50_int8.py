"""ResNet-50 at 3x224x224: ours against float and against the runtimes' own quantizers, interleaved.

Run it on a quiet machine: ``python -m tests.benchmarks.resnet50_int8 [ROUNDS]``. Weights are random
(no kernel's time depends on them); images are noise.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import nncf
import numpy as np
import onnx
import openvino
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeresnet.device.measure.interleaving import interleave, speedup
from edgeresnet.device.targets.onnxruntime_session import optimized_graph
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

SIZE, CALIBRATION = 224, 16


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: list[np.ndarray], name: str) -> None:
        self._images = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._images, None)


def make_models(folder: Path) -> dict[str, tuple[str, Path]]:
    """Name to (target, model file)."""
    generator = np.random.default_rng(0)
    for i in range(10):
        for part in ("train", "val"):
            (folder / "noise" / part / f"{i}").mkdir(parents=True)
            for k in range(3):
                pixels = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "noise" / part / f"{i}" / f"{k}.png")
    data = str(folder / "noise")
    source = replace(make_checkpoint("resnet50", "imagenet", 64), data=data)
    source = replace(source, input_spec=replace(source.input_spec, image_size=SIZE))
    options = QuantizeOptions(method="ptq", calibration_images=CALIBRATION)
    int8, _ = quantize_checkpoint(source, options=options, context=TaskContext(data=data, limit=20))
    models = {}
    for target in CPU_TARGETS:
        for precision, checkpoint in (("fp32", source), ("int8", int8)):
            out_dir = folder / f"{target}-{precision}"
            bundle = export_bundle(checkpoint, target=target, precision=precision, out_dir=out_dir)
            models[f"{target} {precision}"] = (target, bundle.model_path)
    images = [generator.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(8)]
    float_path = models["onnx fp32"][1]
    name = onnx.load(float_path).graph.input[0].name
    theirs = folder / "onnxruntime.onnx"
    quantize_static(
        float_path, theirs, _Reader(images, name), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    models["onnx int8, onnxruntime's PTQ"] = ("onnx", theirs)
    network = nncf.quantize(
        openvino.Core().read_model(str(models["openvino fp32"][1])), nncf.Dataset(images)
    )
    openvino.save_model(network, folder / "nncf.xml", compress_to_fp16=False)
    models["openvino int8, NNCF's PTQ"] = ("openvino", folder / "nncf.xml")
    return models


def main() -> None:
    """Print medians and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    image = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        models = make_models(Path(name))
        optimized = optimized_graph(models["onnx int8"][1], Path(name) / "optimized.onnx")
        kernels = Counter(node.op_type for node in onnx.load(optimized).graph.node)
        sessions = {
            key: stack.enter_context(TARGETS[target].load(path, "cpu", RunOptions()))
            for key, (target, path) in models.items()
        }
        runs = {key: (lambda s=session: s.run(image)) for key, session in sessions.items()}
        timed = interleave(runs, rounds)
    table = Table("model", "p50 ms", "against fp32", box=None)
    for key, latency in timed.items():
        baseline = timed[f"{models[key][0]} fp32"]
        ratio = speedup(baseline, latency)
        interval = f"{ratio.value:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"
        table.add_row(key, f"{latency.percentile_ms(50):.1f}", interval)
    console = Console()
    console.print(table)
    ours, theirs = timed["openvino int8"], timed["openvino int8, NNCF's PTQ"]
    ratio = speedup(ours, theirs)
    console.print(f"ours / NNCF's PTQ: {ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})")
    console.print(f"ONNX Runtime's kernels: {dict(kernels)}")


if __name__ == "__main__":
    main()
