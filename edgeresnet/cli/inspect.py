"""The command inspect."""

from __future__ import annotations

from edgeresnet.cli.options import ImageSize, Json, Model, Quiet, Raw
from edgeresnet.cli.output import give, show

EXAMPLE = "edgeresnet inspect bundle --json -"


def inspect(
    model: Model,
    image_size: ImageSize = None,
    raw: Raw = False,
    json: Json = None,
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

    result = inspect_model(model, image_size=image_size, raw=raw)
    give(result, json)
    extra = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    lines = [*model_lines(result), *origin_lines(result)]
    show(inspect_table(result), *lines, *extra, quiet=quiet, json=json)
