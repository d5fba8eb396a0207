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
from edgeresnet.cli.output import beside, checked_output, finish
from edgeresnet.settings.training import TrainOptions

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
    checked_output(output)
    options = TrainOptions(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,  # type: ignore[arg-type]
        augment=augment, precision=precision, ema=ema, clip_norm=clip_norm,  # type: ignore[arg-type]
        patience=patience, seed=seed,
    )  # fmt: skip
    from edgeresnet.host.training.train_checkpoint import train_checkpoint

    resume_path = beside(output, "resume")
    checkpoint, result = train_checkpoint(
        data=data, arch=arch, stem=stem, image_size=image_size, weights=weights, options=options,
        limit=limit, skip_broken=skip_broken, resume_path=resume_path, progress=not quiet,
    )  # fmt: skip
    line = f"top-1 {result.top1:.4f} on the validation images; {output}"
    finish(checkpoint, output, line, unfinished=resume_path, quiet=quiet)
