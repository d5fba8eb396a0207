"""What a step of quantization-aware training costs, against the float step of the same batch.

Each as it is and compiled (``--compile``), which takes minutes before the first round.

Run: python -m tests.benchmarks.qat_step [ROUNDS] [ARCH SIZE BATCH]
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.training.step import Learner
from edgeresnet.settings.training import QAT_DEFAULTS

CASES = (("resnet18", 32, 128), ("resnet18", 64, 64), ("resnet50", 64, 32))
OPTIONS = replace(QAT_DEFAULTS, distill=0.0)


def ways(arch: str, images: torch.Tensor) -> dict[str, Callable[[torch.Tensor], object]]:
    """A step of each kind of training; the labels go in."""
    plain = build_resnet(arch, 10)
    live = QuantResNet(plain, live_bn=True)
    folded = QuantResNet(plain, live_bn=True)
    for model in (live, folded):
        calibrate(model, [images], "mse")
    folded.freeze_bn()
    cpu = torch.device("cpu")
    models = {"float": plain, "live batch normalization": live, "frozen": folded}
    learners = {
        f"{name}{', compiled' if compiled else ''}": Learner(
            copy.deepcopy(model), replace(OPTIONS, compile=compiled), 10_000, cpu
        )
        for name, model in models.items()
        for compiled in (False, True)
    }
    images = images.to(memory_format=torch.channels_last)
    return {
        name: lambda labels, learner=learner: learner.step(images, labels)
        for name, learner in learners.items()
    }


def main(rounds: int, arch: str, size: int, batch: int) -> None:
    """All alternate within a round, so that a drifting machine cancels out."""
    torch.manual_seed(0)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 10, (batch,))
    steps = ways(arch, images)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            begun = time.process_time()
            step(labels)
            if turn:
                seconds[name].append(time.process_time() - begun)
    base = seconds["float"]
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, base, strict=True)]
        print(
            f"{arch}, {size} px, batch {batch}, {torch.get_num_threads()} threads, {name}: "
            f"{statistics.median(own):.3f} s of processor time, "
            f"{statistics.median(ratios):.3f} times the float step"
        )


if __name__ == "__main__":
    told = sys.argv[1:]
    own_case = (told[1], int(told[2]), int(told[3])) if len(told) > 1 else None
    for case in [own_case] if own_case else CASES:
        main(int(told[0]) if told else 10, *case)
