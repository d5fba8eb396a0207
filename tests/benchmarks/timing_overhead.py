"""What timing costs, and whether our medians are those of a bare loop and of ``benchmark_app``.

Run it on a quiet machine: ``python -m tests.benchmarks.timing_overhead [ROUNDS [ARCH [SIZE
[FOLDER]]]]``. Making the models takes minutes: what FOLDER holds already is measured at once.
Weights are random (no kernel's time depends on them). The same model is measured by turns: by
`measure` as ``profile`` does, by a bare loop around the runtime's own session (ONNX Runtime), or by
OpenVINO's ``benchmark_app`` with the same threads and hint (OpenVINO). Ratios are ours over theirs,
the median of all rounds, each pair measured one right after the other.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.device.machine.load import load_findings, read_load
from edgeresnet.device.measure.latency import measure, warm_up
from edgeresnet.device.session import time_ms
from edgeresnet.device.targets.onnxruntime_session import session_options
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.small_checkpoints import make_checkpoint

SECONDS = 3.0
BOTH = ("onnx", "openvino")
MEDIAN = re.compile(r"Median:\s+([\d.]+) ms")


def overhead_us(runs: int = 200_000) -> float:
    """Microseconds that timing and keeping one run take, beside the run: those of an empty one."""
    begun = time.perf_counter()
    samples = [time_ms(_nothing) for _ in range(runs)]
    return (time.perf_counter() - begun) / len(samples) * 1e6


def _nothing() -> None:
    pass


def make_models(folder: Path, arch: str, size: int) -> dict[str, Path]:
    """An INT8 model file for each of the two runtimes; those of an earlier run, where there are."""
    kept = {
        target: load_bundle(folder / target).model_path
        for target in BOTH
        if (folder / target).exists()
    }
    if len(kept) == len(BOTH):
        return kept
    source = replace(make_checkpoint(arch, "imagenet", 64), data="digits")
    source = replace(source, input_spec=replace(source.input_spec, image_size=size))
    options = QuantizeOptions(method="ptq", calibration_images=8)
    context = TaskContext(data="digits", limit=16)
    int8, _ = quantize_checkpoint(source, options=options, context=context)
    return {
        target: export_bundle(
            int8, target=target, precision="int8", out_dir=folder / target
        ).model_path
        for target in BOTH
    }


def ours_ms(target: str, path: Path, threads: int, image: np.ndarray) -> Callable[[], float]:
    """The median that ``profile`` would tell."""

    def median() -> float:
        with TARGETS[target].load(path, "cpu", RunOptions(threads=threads)) as session:
            return measure(session, image, min_seconds=SECONDS).percentile_ms(50)

    return median


def bare_ms(path: Path, threads: int, image: np.ndarray) -> Callable[[], float]:
    """The median of a loop around ``InferenceSession.run`` and nothing else."""

    def median() -> float:
        settings = session_options(RunOptions(threads=threads))
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        feeds = {session.get_inputs()[0].name: image}
        warm_up(lambda: session.run(None, feeds))
        samples, begun = [], time.perf_counter()
        while time.perf_counter() < begun + SECONDS:
            start = time.perf_counter_ns()
            session.run(None, feeds)
            samples.append((time.perf_counter_ns() - start) / 1e6)
        return statistics.median(samples)

    return median


def benchmark_app_ms(path: Path, threads: int) -> Callable[[], float] | None:
    """The median of OpenVINO's own program; None where it is not installed."""
    program = shutil.which("benchmark_app")
    if program is None:
        return None

    def median() -> float:
        done = subprocess.run(
            [program, "-m", str(path), "-d", "CPU", "-hint", "none", "-api", "sync", "-nstreams",
             "1", "-nireq", "1", "-nthreads", str(threads), "-t", str(round(SECONDS)),
             "-infer_precision", "f32"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = MEDIAN.search(done.stdout)
        assert found is not None, done.stdout
        return float(found[1])

    return median


def show(name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> None:
    """Both by turns, in an order that changes each round."""
    before = read_load()
    pairs = []
    for i in range(rounds):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        found = first(), second()
        pairs.append(found if i % 2 else found[::-1])
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"{name}: {statistics.median(a for a, _ in pairs):.3f} and "
        f"{statistics.median(b for _, b in pairs):.3f} ms, ratio {statistics.median(ratios):.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f}) of {rounds}"
    )
    for _, cause in load_findings(before, read_load()):
        print(f"  {cause}")


def main(rounds: int, arch: str, size: int, folder: Path | None) -> None:
    """Print the overhead and the ratios."""
    threads = default_threads()
    print(f"{cpu_name()}, {threads} threads, {arch} INT8 at {size} px")
    print(f"timing one run adds {overhead_us():.2f} us")
    image = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        paths = make_models(folder or Path(name), arch, size)
        own = {target: ours_ms(target, path, threads, image) for target, path in paths.items()}
        show("onnx, a bare loop", own["onnx"], bare_ms(paths["onnx"], threads, image), rounds)
        theirs = benchmark_app_ms(paths["openvino"], threads)
        if theirs is None:
            print("openvino: benchmark_app is not installed (pip install openvino)")
        else:
            show("openvino, benchmark_app", own["openvino"], theirs, rounds)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 7,
        sys.argv[2] if len(sys.argv) > 2 else "resnet50",
        int(sys.argv[3]) if len(sys.argv) > 3 else 224,
        Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )
