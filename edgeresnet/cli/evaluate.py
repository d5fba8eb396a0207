"""The command evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    AllowFallback,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Model,
    On,
    Quiet,
    SkipBroken,
    Threads,
)
from edgeresnet.cli.output import give, say, show, task_context

EXAMPLE = "edgeresnet evaluate bundle --data photos"


def evaluate(
    context: typer.Context,
    model: Model,
    data: MaybeData = None,
    device: DeviceName = None,
    limit: Limit = None,
    threads: Threads = None,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = False,
    allow_fallback: AllowFallback = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Top-1 and top-5 of a model, with a confidence interval, for each class too."""
    from edgeresnet.report.tables import evaluate_table, share_lines

    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, [model], data=data, needs_data=True, quiet=quiet)
    else:
        from edgeresnet.api.evaluate import evaluate as evaluate_model
        from edgeresnet.settings.measuring import RunOptions

        task = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
        result = evaluate_model(
            model, device=device, image_size=image_size, context=replace(task, on_step=say),
            options=RunOptions(threads=threads, allow_fallback=allow_fallback),
        )  # fmt: skip
    give(result, json)
    placed = share_lines(result.get("placement", ()))
    show(evaluate_table(result), *placed, quiet=quiet, json=json)
