"""The command quantize."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import (
    Arch,
    Augment,
    BatchSize,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Output,
    Quiet,
    Seed,
    SkipBroken,
    Source,
    Strict,
)
from edgeresnet.cli.output import give, show, task_context
from edgeresnet.device.measure.budgets import enforce_quantized
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS

EXAMPLE = "edgeresnet quantize photos.pt --data photos -o photos-int8.pt"


def quantize(
    checkpoint: Source,
    output: Output,
    data: MaybeData = None,
    method: Annotated[
        str, typer.Option("--method", help="ptq, qat, or auto: qat only where ptq loses too much.")
    ] = "auto",
    max_drop: Annotated[
        Optional[float],
        typer.Option("--max-drop", help="Budget: top-1 lost, absolute; auto has 0.005 by itself."),
    ] = None,
    strict: Strict = False,
    observer: Annotated[str, typer.Option("--observer", help="mse, percentile or ema.")] = "mse",
    calibration_images: Annotated[
        int, typer.Option("--calibration-images", help="Of the training data.", min=1)
    ] = 512,
    weight_bits: Annotated[
        int, typer.Option("--weight-bits", help="8 needs VNNI, AMX, Arm or a GPU.", min=7, max=8)
    ] = 7,
    epochs: Annotated[int, typer.Option("--epochs", help="Of qat.", min=1)] = QAT_DEFAULTS.epochs,
    batch_size: BatchSize = QAT_DEFAULTS.batch_size,
    lr: Annotated[float, typer.Option("--lr", help="Of qat.")] = QAT_DEFAULTS.lr,
    augment: Augment = QAT_DEFAULTS.augment,
    arch: Arch = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    seed: Seed = 0,
    skip_broken: SkipBroken = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make a fake-quantized INT8 checkpoint of a float one; exit 1 over --max-drop."""
    training = replace(
        QAT_DEFAULTS, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        augment=augment,  # type: ignore[arg-type]
    )  # fmt: skip
    options = QuantizeOptions(
        method=method,  # type: ignore[arg-type]
        observer=observer,  # type: ignore[arg-type]
        calibration_images=calibration_images, max_drop=max_drop, train=training, seed=seed,
        weight_bits=weight_bits,
    )  # fmt: skip
    from edgeresnet.api.quantize import quantize as quantize_model
    from edgeresnet.report.tables import budget_lines

    context = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
    result = quantize_model(
        checkpoint, output, options, strict=strict, arch=arch, image_size=image_size,
        context=context,
    )  # fmt: skip
    give(result, json)
    line = "\n".join([
        f"{result['method']}: top-1 {result['top1_float']:.4f} -> {result['top1_int8']:.4f} "
        f"(agreement {result['agreement']:.4f}); {output}",
        *budget_lines(result),
    ])  # fmt: skip
    show(line, quiet=quiet, json=json)
    enforce_quantized(result, output)
