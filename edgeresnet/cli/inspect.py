"""The command inspect."""

from __future__ import annotations

from edgeresnet.cli.options import Json, Model, Quiet
from edgeresnet.cli.output import show

EXAMPLE = "edgeresnet inspect bundle --json -"


def inspect(model: Model, json: Json = None, quiet: Quiet = False) -> None:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Of a bare .onnx, .xml or .engine: what its own runtime reads in it, without PyTorch.
    """
    from edgeresnet.device.targets.model_files import describe_model, is_model_file
    from edgeresnet.files import write_json
    from edgeresnet.report.tables import engines_table, inspect_table, model_lines, widths_table

    if (model / "manifest.json").is_file() or model.is_dir():
        from edgeresnet.device.bundle.bundle import load_bundle
        from edgeresnet.device.targets.engine_record import describe_engines
        from edgeresnet.device.targets.protocol import ENGINES

        result = load_bundle(model).manifest.description()
        result["engines"] = describe_engines(model / ENGINES)
    elif is_model_file(model):
        result = describe_model(model)
    else:
        from edgeresnet.host.models.describe import describe_checkpoint

        result = describe_checkpoint(str(model))
    result = {"schema": 1, **result}
    if json:
        write_json(result, json)
    extra = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    show(inspect_table(result), *model_lines(result), *extra, quiet=quiet, json=json)
