"""The command prune."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import (
    Arch,
    Augment,
    BatchSize,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Output,
    Quiet,
    Seed,
    SkipBroken,
    Source,
    Threads,
)
from edgeresnet.cli.output import give, show, task_context
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import RECOVERY_DEFAULTS

EXAMPLE = "edgeresnet prune photos.pt --data photos --macs 0.5 -o photos-half.pt"


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
    from edgeresnet.device.targets.registry import target_of

    training = replace(
        RECOVERY_DEFAULTS, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        augment=augment,  # type: ignore[arg-type]
    )  # fmt: skip
    options = PruneOptions(
        macs=macs, parameters=parameters, latency=latency, latency_ms=latency_ms,
        pattern=pattern, criterion=criterion,  # type: ignore[arg-type]
        target=target, device=device or target_of(target).default_device, threads=threads,
        step=step, floor=floor,
        remove_blocks=remove_blocks, iterations=iterations, compare_criteria=compare_criteria,
        train=training, seed=seed,
    )  # fmt: skip
    from edgeresnet.api.prune import prune as prune_model
    from edgeresnet.run.preflight import check_prune

    check_prune(options)
    context = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
    result = prune_model(
        checkpoint, output, options, arch=arch, image_size=image_size, context=context
    )
    give(result, json)
    share = result["macs_after"] / result["macs_before"]
    line = (
        f"top-1 {result['top1_dense']:.4f} -> {result['top1']:.4f} at {share:.2f} of the "
        f"multiply-accumulates; {output}"
    )
    show(line, quiet=quiet, json=json)
