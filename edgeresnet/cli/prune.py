"""The command prune."""

from __future__ import annotations

from typing import Annotated

from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    Arch,
    ClassNames,
    ClassOrder,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Output,
    Quiet,
    Raw,
    RecordHostInJson,
    SkipBroken,
    Source,
    TensorBoard,
)
from edgeresnet.cli.output import check_apart, task_context, tell
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold
from edgeresnet.settings.pruning import PruneOptions

EXAMPLE = "edgeresnet prune photos.pt --data photos --macs 0.5 -o photos-half.pt"
OPTIONS = Fields(
    "macs", "parameters", "latency", "latency_ms", "pattern", "target", "device", "criterion",
    "step", "floor", "remove_blocks", "iterations", "compare_criteria", "train.epochs",
    "train.batch_size", "train.lr", "train.augment", "train.precision", "train.accumulate",
    "train.deterministic", "train.compile", "threads", "seed",
    phases={"train": "each recovery"},
)  # fmt: skip


@with_settings
def prune(
    checkpoint: Source,
    output: Output,
    options: Annotated[PruneOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    network: Annotated[NetworkTold, NETWORK],
    data: MaybeData = None,
    arch: Arch = None,
    image_size: ImageSize = None,
    raw: Raw = False,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    tensorboard: TensorBoard = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a narrower (or 2:4 sparse) float checkpoint, and win its accuracy back.

    A network without a classifier is cut by its weights alone: --criterion l2
    """
    check_apart(output, json)
    from edgeresnet.api.figures import on_board
    from edgeresnet.api.prune import prune as prune_model
    from edgeresnet.run.preflight import check_prune

    check_prune(options)
    context = task_context(
        data=data,
        limit=limit,
        skip_broken=skip_broken,
        quiet=quiet,
        class_order=class_order,
        classes=classes,
    )
    with on_board(context, tensorboard) as watched:
        result = prune_model(
            checkpoint,
            output,
            options,
            arch=arch,
            image_size=image_size,
            inputs=inputs,
            raw=raw,
            network=network,
            context=watched,
        )
    share = result["macs_after"] / result["macs_before"]
    told = ""
    if result["top1_dense"] is not None and result["top1"] is not None:
        told = f"top-1 {result['top1_dense']:.4f} -> {result['top1']:.4f} at "
    line = f"{told}{share:.2f} of the multiply-accumulates; {output}"
    tell(result, line, quiet=quiet, json=json, record_host=record_host)
