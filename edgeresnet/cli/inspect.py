"""The command inspect."""

from __future__ import annotations

from typing import Annotated

from edgeresnet.cli.options import (
    NETWORK,
    FirstRunLimit,
    ImageSize,
    Json,
    Model,
    Quiet,
    Raw,
    RecordHostInJson,
    Trust,
)
from edgeresnet.cli.output import give, show
from edgeresnet.cli.settings_options import with_settings
from edgeresnet.settings.network import NetworkTold

EXAMPLE = "edgeresnet inspect bundle --json -"


@with_settings
def inspect(
    model: Model,
    network: Annotated[NetworkTold, NETWORK],
    image_size: ImageSize = None,
    raw: Raw = False,
    trust: Trust = None,
    limit: FirstRunLimit = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Of a bare .onnx, .xml or .engine: what its own runtime reads in it, without PyTorch.
    """
    from edgeresnet.api.inspect import inspect as inspect_model
    from edgeresnet.report.tables import (
        engines_table,
        inspect_table,
        model_lines,
        origin_lines,
        widths_table,
    )

    result = inspect_model(
        model,
        image_size=image_size,
        raw=raw,
        network=network,
        trust=trust,
        first_run_limit_s=limit,
    )
    give(result, json, record_host=record_host)
    extra = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    lines = [*model_lines(result), *origin_lines(result)]
    show(inspect_table(result), *lines, *extra, quiet=quiet, json=json)
