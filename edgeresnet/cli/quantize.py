"""The command quantize."""

from __future__ import annotations

from dataclasses import asdict
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
    Strict,
)
from edgeresnet.cli.output import check_apart, task_context, tell
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.device.measure.budgets import enforce_quantized
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS

EXAMPLE = "edgeresnet quantize photos.pt --data photos -o photos-int8.pt"
OPTIONS = Fields(
    "method", "max_drop", "max_class_drop", "max_disagreement", "all_images", "observer",
    "calibration_images", "weight_bits", "float_layers", "start",
    "train.epochs", "train.batch_size", "train.lr", "train.augment", "seed",
    phases={"train": "quantization-aware training"},
)  # fmt: skip


@with_settings
def quantize(
    checkpoint: Source,
    output: Output,
    options: Annotated[QuantizeOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    network: Annotated[NetworkTold, NETWORK],
    data: MaybeData = None,
    strict: Strict = False,
    arch: Arch = None,
    image_size: ImageSize = None,
    raw: Raw = False,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a fake-quantized INT8 checkpoint of a float one; exit 1 over a budget.

    The cheapest rung of the ladder that keeps a budget: --method auto --max-drop 0.005

    One rung alone, without training: --method adaround

    Images without labels, directly in a folder, will do: --data unsorted --max-disagreement 0.02
    """
    _check_training(options)
    check_apart(output, json)
    from edgeresnet.api.quantize import quantize as quantize_model
    from edgeresnet.report.quantized import quantize_line, rungs_table
    from edgeresnet.report.tables import budget_lines

    context = task_context(
        data=data,
        limit=limit,
        skip_broken=skip_broken,
        quiet=quiet,
        class_order=class_order,
        classes=classes,
    )
    result = quantize_model(
        checkpoint, output, options, strict=strict, arch=arch, image_size=image_size, inputs=inputs,
        raw=raw, network=network, context=context,
    )  # fmt: skip
    # One alone is what the line says.
    rungs = [rungs_table(result)] if len(result["rungs"]) > 1 else []
    tell(
        result,
        *rungs,
        quantize_line(result, output),
        *budget_lines(result),
        quiet=quiet,
        json=json,
        record_host=record_host,
    )
    enforce_quantized(result, output)


def _check_training(options: QuantizeOptions) -> None:
    """Refuse options of a training where none is made."""
    options.check_start()
    usual = asdict(QAT_DEFAULTS)
    # The seed is that of calibration too.
    changed = [k for k, v in asdict(options.train).items() if k != "seed" and v != usual[k]]
    if changed and not options.trains:
        named = ", ".join(f"--{key.replace('_', '-')}" for key in changed)
        raise InputError(
            f"{named} would have no effect: --method {options.method} trains nothing",
            "leave it out, or give --method qat.",
        )
