"""What several GPUs would make of ImageNet: reckoned from the network, not measured.

``python -m tests.benchmarks.scaling_on_paper [ARCH] [IMAGES_PER_SECOND]``: what one GPU trains
alone, which somebody has to measure. A step computes its share of the batch, sums the gradients in
a ring, and puts together each batch normalization's statistics, forward and backward. PyTorch sums
gradients while it still computes others: the truth lies between none and all of that hidden.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from edgeresnet.host.models.resnet import build_resnet

TRAINING_IMAGES, CLASSES, FLOAT_BYTES = 1_281_167, 1000, 4
# Of a training image of ImageNet, as its 138 GiB come to.
IMAGE_BYTES = 138 * 2**30 / TRAINING_IMAGES
PER_GPU = 32


@dataclass(frozen=True)
class Links:
    """How GPUs reach each other: bytes a second of each, and seconds until the first byte."""

    name: str
    bytes_per_s: float
    latency_s: float


INSIDE = Links("one machine, 300 GB/s", 300e9, 10e-6)
BETWEEN = Links("8 machines, 25 GB/s", 25e9, 30e-6)
PLANS = ((1, INSIDE), (8, INSIDE), (64, BETWEEN))


def reduce_s(count: int, payload: float, links: Links) -> float:
    """Seconds of an all-reduce in a ring, or in a tree where that is faster, as of few bytes."""
    hops = 2 * math.ceil(math.log2(count)) if count > 1 else 0
    return min(
        ring_s(count, payload, links), hops * (payload / links.bytes_per_s + links.latency_s)
    )


def ring_s(count: int, payload: float, links: Links) -> float:
    """Seconds of an all-reduce: 2 (N - 1) messages of an N-th (Patarasuk and Yuan, 2009)."""
    messages = 2 * (count - 1)
    return messages * (payload / count / links.bytes_per_s + links.latency_s)


def step_s(arch: str, images_per_s: float, count: int, links: Links) -> tuple[float, float, float]:
    """Seconds of a step: computing, summing gradients, batch normalization."""
    with torch.device("meta"):
        model = build_resnet(arch, CLASSES)
    gradients = FLOAT_BYTES * sum(p.numel() for p in model.parameters())
    channels = [m.num_features for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    # Mean, variance and count of each process; of the backward pass two sums.
    norms = sum(
        (count - 1) * (3 * FLOAT_BYTES * c / links.bytes_per_s + links.latency_s)
        + reduce_s(count, 2 * FLOAT_BYTES * c, links)
        for c in channels
    )
    return PER_GPU / images_per_s, ring_s(count, gradients, links), norms


def main(arch: str = "resnet50", images_per_s: float = 1000.0) -> None:
    """Print the table."""
    title = f"{arch}, {PER_GPU} images a GPU and step, {images_per_s:g} images/s alone (computed)"
    columns = ("GPUs", "links", "batch", "compute ms", "gradients ms", "BN ms", "images/s", "epoch",
               "read MB/s")  # fmt: skip
    table = Table(title=title, box=None)
    for name in columns:
        table.add_column(name, justify="right")
    for count, links in PLANS:
        compute, gradients, norms = step_s(arch, images_per_s, count, links)
        slow, fast = compute + norms + gradients, max(compute + norms, gradients)
        rates = [count * PER_GPU / seconds for seconds in (slow, fast)]
        minutes = [TRAINING_IMAGES / rate / 60 for rate in rates]
        table.add_row(
            str(count), links.name if count > 1 else "", str(count * PER_GPU),
            f"{1e3 * compute:.1f}", f"{1e3 * gradients:.2f}", f"{1e3 * norms:.2f}",
            f"{rates[0]:,.0f}-{rates[1]:,.0f}", f"{minutes[1]:.1f}-{minutes[0]:.1f} min",
            f"{rates[1] * IMAGE_BYTES / 1e6:,.0f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(float, sys.argv[2:3]))
