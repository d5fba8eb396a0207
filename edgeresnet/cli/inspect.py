"""The command inspect."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeresnet.cli.options import (
    NETWORK,
    ClassNames,
    ClassOrder,
    FirstRunLimit,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Model,
    Quiet,
    Raw,
    RecordHostInJson,
    SkipBroken,
    Trust,
)
from edgeresnet.cli.output import task_context, tell
from edgeresnet.cli.settings_options import with_settings
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from edgeresnet.settings.network import NetworkTold

EXAMPLE = "edgeresnet inspect photos.pt --sensitivity --data photos"
Sensitivity = Annotated[
    bool,
    typer.Option(
        "--sensitivity",
        help="Measure what quantizing each layer of a checkpoint (float or INT8) costs, on 256 of "
        "the validation images, or --limit.",
    ),
]


@with_settings
def inspect(
    model: Model,
    network: Annotated[NetworkTold, NETWORK],
    image_size: ImageSize = None,
    raw: Raw = False,
    trust: Trust = None,
    first_run_limit: FirstRunLimit = None,
    sensitivity: Sensitivity = False,
    data: MaybeData = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Of a bare .onnx, .xml or .engine: what its own runtime reads in it, without PyTorch.
    """
    from edgeresnet.api.inspect import inspect as inspect_model
    from edgeresnet.report.saturation import saturation_line
    from edgeresnet.report.sensitivity import sensitivity_line, sensitivity_table
    from edgeresnet.report.tables import (
        engines_table,
        inspect_table,
        model_lines,
        origin_lines,
        widths_table,
    )

    context = task_context(
        data=data, limit=limit, skip_broken=skip_broken, quiet=quiet, class_order=class_order,
        classes=classes,
    )  # fmt: skip
    result = inspect_model(
        model,
        image_size=image_size,
        raw=raw,
        network=network,
        trust=trust,
        first_run_limit_s=first_run_limit,
        sensitivity=_checked(context, sensitivity=sensitivity),
    )
    extra: list[object] = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    if measured := result.get("sensitivity"):
        extra += [sensitivity_table(measured), sensitivity_line(measured)]
    lines = [*model_lines(result), *origin_lines(result)]
    lines += saturation_line(result.get("saturation"))
    tell(
        result,
        inspect_table(result),
        *lines,
        *extra,
        quiet=quiet,
        json=json,
        record_host=record_host,
    )


def _checked(context: TaskContext, *, sensitivity: bool) -> TaskContext | None:
    """Refuse options of a measurement where none is made."""
    given = {
        "--data": context.data,
        "--limit": context.limit,
        "--skip-broken": context.skip_broken or None,
        "--class-order": context.class_order,
        "--classes": context.classes_path,
    }
    told = [name for name, value in given.items() if value is not None]
    if told and not sensitivity:
        raise InputError(
            f"{', '.join(told)} would have no effect: without --sensitivity no image is looked at",
            "leave it out, or give --sensitivity.",
        )
    return context if sensitivity else None
