"""Commands that make checkpoints: train, prune, quantize."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgeresnet.budgets import enforce_quantized
from edgeresnet.cli_options import (
    Arch,
    Data,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Quiet,
    Seed,
    SkipBroken,
    Strict,
    Threads,
    checked_output,
    expanded,
    known_data,
    show,
    speaker,
)
from edgeresnet.options import (
    QAT_DEFAULTS,
    RECOVERY_DEFAULTS,
    PruneOptions,
    QuantizeOptions,
    TrainOptions,
)

if TYPE_CHECKING:
    from edgeresnet.checkpoint import Checkpoint

Source = Annotated[
    str, typer.Argument(metavar="CKPT", help="Checkpoint file, or torchvision:ARCH:WEIGHTS.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Checkpoint to write.", callback=expanded)
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images in a training step.", min=2)]
Augment = Annotated[str, typer.Option("--augment", help="none, flip, shift, light or standard.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        epilog="Example: edgeresnet train --arch resnet50 --weights torchvision:IMAGENET1K_V2 "
        "--data photos -o photos.pt"
    )(train)
    app.command(
        epilog="Example: edgeresnet prune photos.pt --data photos --macs 0.5 -o photos-half.pt"
    )(prune)
    app.command(epilog="Example: edgeresnet quantize photos.pt --data photos -o photos-int8.pt")(
        quantize
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
    from edgeresnet.training import train_checkpoint

    resume_path = _beside(output, "resume")
    checkpoint, result = train_checkpoint(
        data=data, arch=arch, stem=stem, image_size=image_size, weights=weights, options=options,
        limit=limit, skip_broken=skip_broken, resume_path=resume_path, progress=not quiet,
    )  # fmt: skip
    line = f"top-1 {result.top1:.4f} on the validation images; {output}"
    _finish(checkpoint, output, line, unfinished=resume_path, quiet=quiet)


def prune(
    checkpoint: Source,
    output: Output,
    data: MaybeData = None,
    macs: Annotated[
        Optional[float], typer.Option("--macs", help="Budget: share of multiply-accumulates.")
    ] = None,
    parameters: Annotated[
        Optional[float], typer.Option("--parameters", help="Budget: share of parameters.")
    ] = None,
    latency: Annotated[
        Optional[float], typer.Option("--latency", help="Budget: share of measured INT8 latency.")
    ] = None,
    latency_ms: Annotated[
        Optional[float], typer.Option("--latency-ms", help="Budget: measured INT8 latency in ms.")
    ] = None,
    pattern: Annotated[
        Optional[str], typer.Option("--pattern", help="2:4 sparsity instead of fewer channels.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="Where latency is measured; its width step.")
    ] = "onnx",
    device: DeviceName = None,
    criterion: Annotated[
        str, typer.Option("--criterion", help="taylor, l1, l2, bn_scale, fpgm or random.")
    ] = "taylor",
    step: Annotated[
        Optional[int],
        typer.Option("--step", help="Widths are its multiples; default: as measured, or 16."),
    ] = None,
    floor: Annotated[
        float, typer.Option("--floor", help="Smallest share of a layer's channels that stays.")
    ] = 0.125,
    remove_blocks: Annotated[
        bool, typer.Option("--remove-blocks", help="Whole blocks may go where that is cheaper.")
    ] = False,
    iterations: Annotated[
        int, typer.Option("--iterations", help="Prune and recover so many times.", min=1)
    ] = 1,
    compare_criteria: Annotated[
        bool, typer.Option("--compare-criteria", help="Show top-1 before recovery by each.")
    ] = False,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Of each recovery.", min=1)
    ] = RECOVERY_DEFAULTS.epochs,
    batch_size: BatchSize = RECOVERY_DEFAULTS.batch_size,
    lr: Annotated[float, typer.Option("--lr", help="Of recovery.")] = RECOVERY_DEFAULTS.lr,
    augment: Augment = RECOVERY_DEFAULTS.augment,
    arch: Arch = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    threads: Threads = None,
    seed: Seed = 0,
    skip_broken: SkipBroken = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make a narrower (or 2:4 sparse) float checkpoint, and win its accuracy back."""
    from edgeresnet.targets import target_of

    checked_output(output)
    training = _training(RECOVERY_DEFAULTS, epochs, batch_size, lr, augment, seed)
    options = PruneOptions(
        macs=macs, parameters=parameters, latency=latency, latency_ms=latency_ms,
        pattern=pattern, criterion=criterion,  # type: ignore[arg-type]
        target=target, device=device or target_of(target).default_device, threads=threads,
        step=step, floor=floor,
        remove_blocks=remove_blocks, iterations=iterations, compare_criteria=compare_criteria,
        train=training, seed=seed,
    )  # fmt: skip
    from edgeresnet.preflight import check_prune

    check_prune(options)
    from edgeresnet.checkpoint import load_checkpoint
    from edgeresnet.prune import prune_checkpoint

    source = load_checkpoint(checkpoint, arch=arch, image_size=image_size)
    work_dir = _beside(output, "work")
    result, figures = prune_checkpoint(
        source, data=known_data(data, source.data, checkpoint), options=options, limit=limit,
        skip_broken=skip_broken, work_dir=work_dir, progress=not quiet, on_step=speaker(quiet),
    )  # fmt: skip
    share = figures["macs_after"] / figures["macs_before"]
    line = (
        f"top-1 {figures['top1_dense']:.4f} -> {figures['top1']:.4f} at {share:.2f} of the "
        f"multiply-accumulates; {output}"
    )
    _finish(result, output, line, unfinished=work_dir, figures=figures, json=json, quiet=quiet)


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
    checked_output(output)
    training = _training(QAT_DEFAULTS, epochs, batch_size, lr, augment, seed)
    options = QuantizeOptions(
        method=method,  # type: ignore[arg-type]
        observer=observer,  # type: ignore[arg-type]
        calibration_images=calibration_images, max_drop=max_drop, train=training, seed=seed,
        weight_bits=weight_bits,
    )  # fmt: skip
    from edgeresnet.checkpoint import load_checkpoint
    from edgeresnet.quantize import quantize_checkpoint
    from edgeresnet.report.tables import budget_lines

    source = load_checkpoint(checkpoint, arch=arch, image_size=image_size)
    resume_path = _beside(output, "resume")
    result, figures = quantize_checkpoint(
        source, data=known_data(data, source.data, checkpoint), options=options, limit=limit,
        skip_broken=skip_broken, resume_path=resume_path, strict=strict, progress=not quiet,
        on_step=speaker(quiet),
    )  # fmt: skip
    line = "\n".join([
        f"{figures['method']}: top-1 {figures['top1_float']:.4f} -> {figures['top1_int8']:.4f} "
        f"(agreement {figures['agreement']:.4f}); {output}",
        *budget_lines(figures),
    ])  # fmt: skip
    _finish(result, output, line, unfinished=resume_path, figures=figures, json=json, quiet=quiet)
    enforce_quantized(figures, output)


def _training(
    defaults: TrainOptions, epochs: int, batch_size: int, lr: float, augment: str, seed: int
) -> TrainOptions:
    """The settings of a recovery or a quantization-aware training."""
    return replace(
        defaults, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        augment=augment,  # type: ignore[arg-type]
    )  # fmt: skip


def _beside(output: Path, suffix: str) -> Path:
    """Where an interrupted command keeps what it goes on from."""
    return output.with_name(f".{output.name}.{suffix}")


def _finish(
    checkpoint: Checkpoint,
    output: Path,
    line: str,
    *,
    unfinished: Path,
    quiet: bool,
    figures: dict[str, Any] | None = None,
    json: str | None = None,
) -> None:
    """Save the result, remove what an interrupted run would have gone on from, and tell."""
    from edgeresnet.checkpoint import save_checkpoint
    from edgeresnet.report.results import write_json

    save_checkpoint(checkpoint, output)
    if unfinished.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
    else:
        unfinished.unlink(missing_ok=True)
    if json:
        write_json({"schema": 1, **(figures or {})}, json)
    show(line, quiet=quiet, json=json)
