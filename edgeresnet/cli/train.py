"""The command train."""

from __future__ import annotations

from typing import Annotated

from edgeresnet.cli.options import (
    INPUTS,
    Data,
    ImageSize,
    Limit,
    Output,
    Quiet,
    SkipBroken,
    Strict,
    TensorBoard,
)
from edgeresnet.cli.output import enforce, show, task_context
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.training import ModelSettings, TrainOptions

EXAMPLE = (
    "edgeresnet train --arch resnet50 --weights torchvision:IMAGENET1K_V2 --data photos "
    "-o photos.pt"
)
OPTIONS = Fields(
    "epochs", "batch_size", "lr", "optimizer", "augment", "precision", "ema", "clip_norm",
    "patience", "accumulate", "deterministic", "compile", "seed",
)  # fmt: skip


MODEL = Fields("arch", "weights", "stem", "stride_in", "raw", required=("arch",))


@with_settings
def train(
    model: Annotated[ModelSettings, MODEL],
    data: Data,
    output: Output,
    options: Annotated[TrainOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    image_size: ImageSize = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    strict: Strict = False,
    tensorboard: TensorBoard = None,
    quiet: Quiet = False,
) -> None:
    """Train a ResNet, or fine-tune one to new classes. Interrupted, it goes on where it was."""
    from edgeresnet.api.figures import on_board
    from edgeresnet.api.train import train as train_model

    context = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
    with on_board(context, tensorboard) as watched:
        result = train_model(
            output, model, options, image_size=image_size, inputs=inputs, context=watched
        )
    line = f"top-1 {result['top1']:.4f} on the validation images; {output}"
    show(line, quiet=quiet, json=None)
    enforce({"budgets": [], "strict": strict, "doubts": result["doubts"]})
