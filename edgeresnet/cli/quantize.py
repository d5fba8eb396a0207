"""The command quantize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    Arch,
    ClassNames,
    ClassOrder,
    DeviceName,
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
    TensorBoard,
    Threads,
)
from edgeresnet.cli.output import check_apart, speaker, task_context, tell
from edgeresnet.cli.settings_options import (
    Fields,
    complete_targets,
    target_option,
    with_settings,
)
from edgeresnet.device.measure.budgets import enforce_quantized
from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.files.ranks import is_first
from edgeresnet.results.fastest import FastestResults
from edgeresnet.results.made import QuantizeResults
from edgeresnet.settings.export import DEFAULT_TARGET
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.measuring import FastestOptions
from edgeresnet.settings.network import NetworkTold
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS

EXAMPLE = "edgeresnet quantize photos.pt --data photos -o photos-int8.pt"
OPTIONS = Fields(
    "method", "max_drop", "max_class_drop", "max_disagreement", "all_images", "observer",
    "calibration_images", "weight_bits", "float_layers", "start",
    "train.epochs", "train.batch_size", "train.lr", "train.augment", "train.precision",
    "train.accumulate", "train.deterministic", "train.compile", "seed",
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
    fastest: Annotated[
        bool,
        typer.Option(
            "--fastest",
            help="Then time INT8 and every float precision that --target's device has, by turns, "
            "and say which is the fastest and how to export it.",
        ),
    ] = False,
    target: Annotated[Optional[str], target_option("Target that --fastest times on")] = None,
    device: DeviceName = None,
    threads: Threads = None,
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
    """Make a fake-quantized INT8 checkpoint of a float one; exit 1 over a budget.

    The cheapest rung of the ladder that keeps a budget: --method auto --max-drop 0.005

    One rung alone, without training: --method adaround

    Images without labels, directly in a folder, will do: --data unsorted --max-disagreement 0.02

    Whether it is worth it on the device at hand: --fastest --target openvino --device cpu
    """
    _check_training(options)
    check_apart(output, json)
    speed = _asked_fastest(fastest=fastest, target=target, device=device, threads=threads)
    from edgeresnet.api.figures import on_board
    from edgeresnet.api.quantize import quantize as quantize_model

    context = task_context(
        data=data, limit=limit, skip_broken=skip_broken, quiet=quiet, class_order=class_order,
        classes=classes,
    )  # fmt: skip
    told: dict[str, Any] = {
        "arch": arch, "image_size": image_size, "inputs": inputs, "raw": raw, "network": network,
        "context": context,
    }  # fmt: skip
    with on_board(context, tensorboard) as watched:
        asked = {**told, "context": watched}
        result = quantize_model(checkpoint, output, options, strict=strict, **asked)
    failure = None
    if speed is not None and is_first():
        result["fastest"], failure = _timed(checkpoint, output, speed, options.seed, told)
    tell(result, *_tables(result, output), quiet=quiet, json=json, record_host=record_host)
    if failure is not None:
        raise failure
    if speeds := result.get("fastest"):
        # On one line however long, to be copied.
        speaker(quiet)(f"to export {speeds['advised']}: {speeds['export_command']}")
    enforce_quantized(result, output)


def _tables(result: QuantizeResults, output: Path) -> list[object]:
    """What is shown of a quantization; one rung alone is what the line says."""
    from edgeresnet.report.fastest import fastest_line, fastest_table
    from edgeresnet.report.quantized import quantize_line, rungs_table
    from edgeresnet.report.tables import budget_lines

    rungs = [rungs_table(result)] if len(result["rungs"]) > 1 else []
    told = [*rungs, quantize_line(result, output), *budget_lines(result)]
    speeds = result.get("fastest")
    return [*told, fastest_table(speeds), fastest_line(speeds)] if speeds else told


def _asked_fastest(
    *, fastest: bool, target: str | None, device: str | None, threads: int | None
) -> FastestOptions | None:
    """Where speeds are to be compared, refused before the work if they cannot be; None: nowhere."""
    from edgeresnet.device.measure.fastest import check_fastest

    places = {"--target": target, "--device": device, "--threads": threads}
    if not fastest:
        if given := [name for name, value in places.items() if value is not None]:
            raise InputError(
                f"{', '.join(given)} would have no effect without --fastest",
                "give --fastest too, or leave it out.",
            )
        return None
    if target is None:
        raise InputError(
            "--fastest times on a target, and none is given",
            f"give one of {', '.join(complete_targets(''))}, as --fastest --target "
            f"{DEFAULT_TARGET}.",
        )
    options = FastestOptions(target=target, device=device, threads=threads)
    check_fastest(options)
    return options


def _timed(
    checkpoint: str, output: Path, speed: FastestOptions, seed: int, told: Mapping[str, Any]
) -> tuple[FastestResults | None, EdgeResNetError | None]:
    """The comparison; or why it failed, which takes nothing from what was quantized."""
    from edgeresnet.api.fastest import fastest

    try:
        return fastest(checkpoint, output, speed, seed=seed, **told), None
    except EdgeResNetError as error:
        cause = f"the INT8 checkpoint is in {output}, and its speed was not compared: {error.cause}"
        return None, type(error)(cause, error.fix)


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
