"""How much matrix-product weight gradients save of a training step on small images.

Run: python -m tests.benchmarks.training_step [ROUNDS]
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time

import torch
from torch.nn import functional as F
from torchvision.models import resnet18

from edgeresnet.host.training.weight_gradients import MatmulWeightGradients

BATCH = 128
SIZES = (32, 40, 48, 64)


def main(rounds: int) -> None:
    """Both ways alternate within a round, so that a drifting machine cancels out."""
    torch.manual_seed(0)
    labels = torch.randint(0, 10, (BATCH,))
    for size in SIZES:
        model = resnet18(num_classes=10).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True)
        images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(2 * (rounds + 1)):
            ours = turn % 2 == 1
            begun = time.perf_counter()
            with MatmulWeightGradients() if ours else contextlib.nullcontext():
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if turn > 1:
                seconds[ours].append(time.perf_counter() - begun)
        plain, product = (statistics.median(seconds[ours]) for ours in (False, True))
        print(
            f"{size} px: {BATCH / plain:.0f} images/s plain, {BATCH / product:.0f} with matrix "
            f"products, {plain / product:.2f}x (medians of {rounds})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
