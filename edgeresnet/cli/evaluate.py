"""The command evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    ClassNames,
    ClassOrder,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Model,
    On,
    Quiet,
    RecordHostInJson,
    SkipBroken,
    Strict,
)
from edgeresnet.cli.output import enforce, task_context, tell
from edgeresnet.cli.plain_text import say
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.measuring import RunOptions

EXAMPLE = "edgeresnet evaluate bundle --data photos"
OPTIONS = Fields("threads", "allow_fallback", "first_run_limit_s", "trust", "raw", *NETWORK.keys)


@with_settings
def evaluate(
    context: typer.Context,
    model: Model,
    options: Annotated[RunOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    data: MaybeData = None,
    device: DeviceName = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    on: On = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Top-1 and top-5 of a model, with a confidence interval, for each class too."""
    from edgeresnet.report.decisions import mistake_lines
    from edgeresnet.report.embeddings import embedding_lines
    from edgeresnet.report.tables import evaluate_table, share_lines

    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, [model], data=data, needs_data=True, quiet=quiet)
    else:
        from edgeresnet.api.evaluate import evaluate as evaluate_model

        task = task_context(
            data=data,
            limit=limit,
            skip_broken=skip_broken,
            quiet=quiet,
            class_order=class_order,
            classes=classes,
        )
        result = evaluate_model(
            model, device=device, options=options, image_size=image_size, inputs=inputs,
            context=replace(task, on_step=say),
        )  # fmt: skip
    placed = share_lines(result.get("placement", ()))
    judged = embedding_lines([result])
    tell(
        result, evaluate_table(result), *judged, *mistake_lines(result), *placed, quiet=quiet,
        json=json, record_host=record_host,
    )  # fmt: skip
    enforce({"budgets": [], "strict": strict, "doubts": result.get("doubts", ())})
