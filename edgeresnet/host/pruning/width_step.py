"""Measures which widths a target's integer kernels are good at on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from edgeresnet.closing import temporary_folder
from edgeresnet.device.measure.interleaving import interleave
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.quantization.latency_probe import int8_model_path
from edgeresnet.progress import OnStep, silent
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions

# Every width is a multiple of its step and not of the next one; 128 stands for 32 and more.
WIDTHS = {4: 116, 8: 120, 16: 112, 32: 96}
WIDEST = 128
IMAGE_SIZE, ROUNDS = 64, 60
# A step is good enough if its multiples cost no more than this for each multiply-accumulate.
ALLOWANCE = 1.1


def measure_step(
    target: str,
    device: str,
    *,
    threads: int | None = None,
    on_step: OnStep = silent,
) -> int:
    """Smallest step at whose multiples the target's INT8 kernels lose nothing.

    A ResNet-18 with the same width throughout is timed whole, at widths that are multiples of 4,
    8, 16 and 32 and of nothing larger, all in the same rounds.

    Args:
        target: ``onnx``, ``openvino`` ….
        device: of this machine.
        threads: None leaves the choice to the runtime.
        on_step: told the figures.
    """
    with temporary_folder() as folder, ExitStack() as stack:
        runs = {}
        for width in (*WIDTHS.values(), WIDEST):
            place = Path(folder) / str(width)
            place.mkdir()
            path = int8_model_path(_uniform(width), target, device, place)
            options = RunOptions(threads=threads, precision="fp32")
            session = stack.enter_context(target_of(target).load(path, device, options))
            image = noise(session)
            runs[str(width)] = lambda s=session, x=image: s.run(x)
        timed = interleave(runs, ROUNDS)
    ms = {int(width): latency.percentile_ms(50) for width, latency in timed.items()}
    listed = ", ".join(f"{width}: {value:.2f} ms" for width, value in sorted(ms.items()))
    on_step(f"{target} on {device}, width {listed}")
    return best_step(ms)


def best_step(ms: Mapping[int, float]) -> int:
    """The smallest step whose width costs as little a multiply-accumulate as the best larger one.

    Args:
        ms: latency of each of `WIDTHS` and of `WIDEST`.
    """
    each = {width: value / width**2 for width, value in ms.items()}
    for step, width in WIDTHS.items():
        larger = min([each[WIDEST], *(each[w] for s, w in WIDTHS.items() if s > step)])
        if each[width] <= ALLOWANCE * larger:
            return step
    return 64


def _uniform(width: int) -> Checkpoint:
    torch.manual_seed(0)
    inner = tuple(tuple((width,) for _ in range(2)) for _ in range(4))
    widths = Widths(width, (width,) * 4, inner)
    classes = tuple(str(i) for i in range(10))
    model = build_resnet("resnet18", len(classes), "small", widths)
    spec = InputSpec(IMAGE_SIZE)
    return Checkpoint("resnet18", "small", widths, classes, spec, dict(model.state_dict()))
