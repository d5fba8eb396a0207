"""The memory of a training, reckoned and measured."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.host.training.memory import images_bytes, training_bytes
from edgeresnet.settings.training import TrainOptions
from tests.small_checkpoints import SLIM

OPTIONS = TrainOptions(epochs=1, batch_size=64, augment="none")
# Processes of their own: what the highest mark of memory rises by in the first steps.
STEPS = """
import os
import torch
from pathlib import Path
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.training.step import Learner
from edgeresnet.settings.training import TrainOptions

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

def learner(batch, quantized):
    model = build_resnet("resnet18", 10, "small", {widths})
    if quantized:
        model = QuantResNet(model, live_bn=True)
        for module in model.modules():
            if hasattr(module, "scale"):
                module.scale.data.fill_(0.1)
    options = TrainOptions(epochs=1, batch_size=batch, augment="none")
    return Learner(model, options, 2, torch.device("cpu"))

def rise(quantized):
    one = learner(2, quantized)
    one.step(torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    del one
    before = peak()
    many = learner(64, quantized)
    for _ in range(2):
        many.step(torch.randn(64, 3, 32, 32), torch.zeros(64, dtype=torch.int64))
    return peak() - before

torch.set_num_threads(1)
for quantized in (False, True):
    if os.fork() == 0:
        print("rise", quantized, rise(quantized), flush=True)
        os._exit(0)
    os.wait()
"""


def reckoned(options: TrainOptions, *, quantized: bool = False) -> int:
    with torch.device("meta"):
        model = build_resnet("resnet18", 10, "small", SLIM)
    return training_bytes(model, options, 32, quantized=quantized)


@pytest.fixture(scope="module")
def rises() -> dict[str, int]:
    """By how many bytes, by "True" for a quantized network, else "False"."""
    code = STEPS.replace("{widths}", repr(SLIM))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return {kind: int(rise) for kind, rise in re.findall(r"rise (\w+) (\d+)", done.stdout)}


# What is reckoned is held to figures below.
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's highest mark of memory")
@pytest.mark.parametrize("quantized", [False, True])
def test_training_bytes_are_what_a_process_takes(rises: dict[str, int], quantized: bool) -> None:
    # The network that was there before has left room for the weights of the next one.
    assert 0.6 < rises[str(quantized)] / reckoned(OPTIONS, quantized=quantized) < 1.5


def test_training_bytes_grow_with_what_is_kept() -> None:
    weights = sum(p.numel() for p in build_resnet("resnet18", 10, "small", SLIM).parameters()) * 4
    base = reckoned(OPTIONS)
    assert reckoned(replace(OPTIONS, ema=0.9)) - base == weights
    assert reckoned(replace(OPTIONS, distill=0.5)) - base == weights
    assert reckoned(replace(OPTIONS, optimizer="adamw")) - base == weights
    kept = base - 3 * weights
    assert reckoned(replace(OPTIONS, batch_size=128)) - 3 * weights == pytest.approx(
        2 * kept, rel=0.01
    )
    assert reckoned(replace(OPTIONS, precision="bf16")) == 3 * weights + kept // 2


def test_images_bytes_are_none_when_they_are_streamed() -> None:
    assert images_bytes(60_000, OPTIONS, 32) == 60_000 * 32 * 32 * 3
    assert images_bytes(60_000, OPTIONS, 224) == 0
    assert images_bytes(100, replace(OPTIONS, augment="standard"), 224) == 0
    assert images_bytes(100, replace(OPTIONS, augment="standard"), 32) == 100 * 32 * 32 * 3
