"""What one or several processes do in the tests; each gives plain values and tensors' copies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Imported once, and not by every copy.
import edgeresnet.host.pruning.prune_checkpoint
import edgeresnet.host.training.train_checkpoint  # noqa: F401
from edgeresnet.api.prune import prune
from edgeresnet.api.quantize import quantize
from edgeresnet.api.together import data_parallel
from edgeresnet.api.train import train
from edgeresnet.cli.app import main
from edgeresnet.device.data.open import open_dataset
from edgeresnet.files.ranks import this_rank
from edgeresnet.host.models import validation
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.parallel.processes import own_of_step, processes
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.quantization.rungs import rung
from edgeresnet.host.training.step import Learner
from edgeresnet.progress import TaskContext
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions

Arrays = dict[str, Any]


def arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


@data_parallel
def normalized(images: int, dtypes: list[str]) -> list[Arrays]:
    """For each type what `_normalized` gives."""
    return [_normalized(images, dtype) for dtype in dtypes]


def _normalized(images: int, dtype: str) -> Arrays:
    """Batch normalization of this process's part of the images, with gradients."""
    generator = torch.Generator().manual_seed(0)
    # Far from 0, where a difference of squares would cancel.
    whole = torch.randn(images, 4, 3, 3, generator=generator) + 50
    wanted = torch.randn(images, 4, 3, 3, generator=generator)
    (own,) = own_of_step(images, 1, of=processes())
    x = whole[own.start : own.stop].to(getattr(torch, dtype)).requires_grad_()
    weight, bias = (torch.linspace(a, 2, 4).requires_grad_() for a in (0.5, -1))
    mean, var = torch.zeros(4), torch.ones(4)
    with processes().normalizing():
        y = F.batch_norm(x, mean, var, weight, bias, training=True)
        untrained = F.batch_norm(x, mean, var, weight, bias, training=False)
    (y.float() * wanted[own.start : own.stop]).sum().backward()
    assert x.grad is not None
    gradients = {"weight": weight.grad, "bias": bias.grad}
    summed = {k: processes().total(v) for k, v in gradients.items() if v is not None}
    told = {"y": y.float(), "x": x.grad.float(), "mean": mean, "var": var, **summed}
    return arrays({**told, "untrained": untrained.float()})


def trained(output: str, dies_at: int | None = None, **options: Any) -> Arrays:
    """A training from start to end: each step's loss, and what came out."""
    losses: list[float] = []

    def told(part: str, place: int, figures: Any) -> None:
        losses.extend(v for name, v in figures.items() if name == "step/loss")

    def step(self: Learner, *given: Any) -> Any:
        steps.append(1)
        if len(steps) == dies_at and this_rank().number == 1:
            os._exit(9)
        return original(self, *given)

    steps: list[int] = []
    original, Learner.step = Learner.step, step  # type: ignore[method-assign]
    settings = {"augment": "shift", "batch_size": 16, "lr": 0.05, "workers": 0, **options}
    weights = settings.pop("weights")
    data, limit = settings.pop("data", "digits"), settings.pop("limit", 160)
    context = TaskContext(data=data, limit=limit, on_figures=told)
    result = train(
        output, ModelSettings(weights=weights), TrainOptions(**settings), context=context
    )
    return {"losses": losses, **result}


@data_parallel
def evaluated(sizes: list[int]) -> list[Arrays]:
    """For each number of images what `_evaluated` gives."""
    validation.PREDICT_BATCH = 16
    return [_evaluated(images) for images in sizes]


def _evaluated(images: int) -> Arrays:
    """Logits of a network on so many images, in batches of 16."""
    checkpoint = load_checkpoint(Path("narrow.pt"))
    dataset = open_dataset("digits", "val", limit=images)
    found = validation.EvaluationSet(dataset, checkpoint.input_spec, shared=True)
    logits = validation.evaluate(checkpoint.build(), found, torch.device("cpu"), 16)
    read = len(dataset) if found.own is None else len(found.own)
    return {"logits": logits, "labels": found.labels, "read": read}


@data_parallel
def calibrated(source: str, observers: list[str]) -> dict[str, Arrays]:
    """For each observer every step size of a network that was only calibrated."""
    rung.CALIBRATION_BATCH = 8
    return {name: _calibrated(source, name) for name in observers}


def _calibrated(source: str, observer: Any) -> Arrays:
    options = QuantizeOptions(method="ptq", observer=observer, calibration_images=28)
    context = TaskContext(data="digits", limit=40)
    found, _ = quantize_checkpoint(load_checkpoint(Path(source)), options, context=context)
    return arrays({name: t for name, t in found.state_dict.items() if name.endswith("scale")})


def pruned(source: str, output: str, **options: Any) -> Arrays:
    """What a pruning leaves, with a recovery of one epoch."""
    brief = TrainOptions(epochs=1, batch_size=16, lr=0.02, augment="none", workers=0)
    settings = PruneOptions(images=200, train=brief, **options)
    found = prune(source, output, settings, context=TaskContext(data="digits", limit=80))
    return {"widths": found["widths_after"], "top1": found["top1"], "before": found["top1_dense"]}


def quantized(source: str, output: str, **options: Any) -> Arrays:
    """What a quantization-aware training comes to."""
    losses: list[float] = []

    def told(part: str, place: int, figures: Any) -> None:
        losses.extend(v for name, v in figures.items() if name == "step/loss")

    freeze_bn = options.pop("freeze_bn")
    training = {"epochs": 2, "augment": "none", "workers": 0, "distill": 0.5, **options}
    settings = QuantizeOptions(
        method="qat", calibration_images=64, freeze_bn=freeze_bn, train=TrainOptions(**training)
    )
    context = TaskContext(data="digits", limit=320, on_figures=told)
    found = quantize(source, output, settings, context=context)
    figures = {name: found[name] for name in ("top1_float", "top1_int8", "agreement")}  # type: ignore[literal-required]
    return {"losses": losses, **figures}


def command(arguments: list[str], cwd: str) -> None:
    """A command line."""
    os.chdir(cwd)
    sys.argv = ["edgeresnet", *arguments]
    main()


def modules() -> list[str]:
    """What a process that has trained alone has imported of the distributed part."""
    trained("plain.pt", weights="narrow.pt", epochs=1, limit=32)
    return [name for name in sys.modules if name.startswith("edgeresnet.host.parallel.")]
