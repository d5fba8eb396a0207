"""The command adopt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    ClassNames,
    ClassOrder,
    Data,
    ImageSize,
    Json,
    Limit,
    Output,
    Quiet,
    Raw,
    SkipBroken,
    Source,
)
from edgeresnet.cli.output import check_apart, task_context, tell
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.errors import CheckError
from edgeresnet.settings.adoption import AdoptOptions
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold

EXAMPLE = "edgeresnet adopt theirs.pth --data photos -o ours.pt"
OPTIONS = Fields("strict", "record_host", "seed")


@with_settings
def adopt(
    checkpoint: Source,
    data: Data,
    output: Output,
    options: Annotated[AdoptOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    network: Annotated[NetworkTold, NETWORK],
    image_size: ImageSize = None,
    raw: Raw = False,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make somebody else's checkpoint ours: finds out what nobody wrote down, from images."""
    check_apart(output, json)
    from edgeresnet.api.adopt import adopt as adopt_model
    from edgeresnet.report.adoption import adoption_lines, adoption_table

    context = task_context(
        data=data,
        limit=limit,
        skip_broken=skip_broken,
        quiet=quiet,
        class_order=class_order,
        classes=classes,
    )
    result = adopt_model(
        checkpoint,
        output,
        options,
        image_size=image_size,
        inputs=inputs,
        raw=raw,
        network=network,
        context=context,
    )
    tell(
        result,
        adoption_table(result),
        *adoption_lines(result),
        str(output),
        quiet=quiet,
        json=json,
        record_host=options.record_host,
    )
    _enforce(result, strict=options.strict)


def _enforce(result: Mapping[str, Any], *, strict: bool) -> None:
    undecided = sorted({row["setting"] for row in result["not_distinguished"]})
    if strict and undecided:
        raise CheckError(
            f"the images leave undecided: {', '.join(undecided)}",
            "give more images, or say what you know (--channels, --mean, --std, --resize …).",
        )
