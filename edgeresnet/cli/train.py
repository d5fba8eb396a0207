"""The command train."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import (
    Augment,
    BatchSize,
    Data,
    ImageSize,
    Limit,
    Output,
    Quiet,
    Seed,
    SkipBroken,
)
from edgeresnet.cli.output import show, task_context
from edgeresnet.settings.training import ModelSettings, TrainOptions

EXAMPLE = (
    "edgeresnet train --arch resnet50 --weights torchvision:IMAGENET1K_V2 --data photos "
    "-o photos.pt"
)


def train(
    arch: Annotated[str, typer.Option("--arch", help="resnet18, 34, 50, 101 or 152.")],
    data: Data,
    output: Output,
    weights: Annotated[
        Optional[str], typer.Option("--weights", help="Checkpoint to begin with.")
    ] = None,
    stem: Annotated[
        Optional[str], typer.Option("--stem", help="imagenet, or small for up to 64 px.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the data.", min=1)] = 30,
    batch_size: BatchSize = 128,
    lr: Annotated[float, typer.Option("--lr", help="Largest learning rate.")] = 0.1,
    optimizer: Annotated[str, typer.Option("--optimizer", help="sgd or adamw.")] = "sgd",
    augment: Augment = "standard",
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16.")] = "fp32",
    ema: Annotated[float, typer.Option("--ema", help="Decay of averaged weights; 0: none.")] = 0.0,
    clip_norm: Annotated[
        Optional[float], typer.Option("--clip-norm", help="Largest gradient norm.")
    ] = None,
    patience: Annotated[
        Optional[int],
        typer.Option("--patience", help="Stop N epochs after the best validation, and keep it."),
    ] = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    seed: Seed = 0,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Train a ResNet, or fine-tune one to new classes. Interrupted, it goes on where it was."""
    options = TrainOptions(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,  # type: ignore[arg-type]
        augment=augment, precision=precision, ema=ema, clip_norm=clip_norm,  # type: ignore[arg-type]
        patience=patience, seed=seed,
    )  # fmt: skip
    from edgeresnet.api.train import train as train_model

    model = ModelSettings(arch=arch, stem=stem, weights=weights)  # type: ignore[arg-type]
    context = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
    result = train_model(output, model, options, image_size=image_size, context=context)
    line = f"top-1 {result['top1']:.4f} on the validation images; {output}"
    show(line, quiet=quiet, json=None)
