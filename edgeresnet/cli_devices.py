"""Commands about what is there: build, inspect and devices. They need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli_options import (
    DeviceName,
    Json,
    Model,
    On,
    Quiet,
    Threads,
    expanded,
    show,
    speaker,
)
from edgeresnet.cli_remote import result_from
from edgeresnet.errors import MissingError


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: edgeresnet build bundle --device gpu")(build)
    app.command(epilog="Example: edgeresnet inspect bundle --json -")(inspect)
    app.command(epilog="Example: edgeresnet devices")(devices)


def build(
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.", callback=expanded)
    ],
    device: DeviceName = None,
    workspace_mib: Annotated[
        Optional[int], typer.Option("--workspace-mib", help="tensorrt: memory of kernels.", min=1)
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="tensorrt: loads in later versions too.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="tensorrt: loads on other GPUs too.")
    ] = False,
    gpu_fallback: Annotated[
        bool, typer.Option("--gpu-fallback", help="tensorrt: the GPU runs what the DLA cannot.")
    ] = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Compile a bundle for a device of this machine, into BUNDLE/engines.

    What compiles when it loads (onnx, and openvino on a CPU) is compiled once to show that it can
    be, and nothing is written.
    """
    if on:
        result = result_from(on, context, [bundle], quiet=quiet)
    else:
        from edgeresnet.building import build_bundle, build_result

        engine = build_bundle(
            bundle, device, workspace_mib=workspace_mib, version_compatible=version_compatible,
            hardware_compatible=hardware_compatible, gpu_fallback=gpu_fallback,
        )  # fmt: skip
        result = build_result(bundle, device, engine)
    if json:
        from edgeresnet.report.results import write_json

        write_json(result, json)
    if result["engine"] is None:
        line = (
            f"target {result['target']} compiles for {result['device']} when it loads; it can, and "
            "nothing is written"
        )
    else:
        line = f"{bundle / result['engine']}, {result['size_bytes'] / 2**20:.1f} MiB"
    show(line, quiet=quiet, json=json)


def inspect(model: Model, json: Json = None, quiet: Quiet = False) -> None:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Of a bare .onnx, .xml or .engine: what its own runtime reads in it, without PyTorch.
    """
    from edgeresnet.model_files import describe_model, is_model_file
    from edgeresnet.report.results import write_json
    from edgeresnet.report.tables import engines_table, inspect_table, model_lines, widths_table

    if (model / "manifest.json").is_file() or model.is_dir():
        from edgeresnet.bundle import ENGINES, load_bundle
        from edgeresnet.targets.engine_record import describe_engines

        result = load_bundle(model).manifest.description()
        result["engines"] = describe_engines(model / ENGINES)
    elif is_model_file(model):
        result = describe_model(model)
    else:
        from edgeresnet.inspecting import describe_checkpoint

        result = describe_checkpoint(str(model))
    result = {"schema": 1, **result}
    if json:
        write_json(result, json)
    extra = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    show(inspect_table(result), *model_lines(result), *extra, quiet=quiet, json=json)


def devices(
    measure_widths: Annotated[
        bool,
        typer.Option(
            "--measure-widths",
            help="Measure which channel widths each runtime is good at here; prune uses it.",
        ),
    ] = False,
    threads: Threads = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """What this machine can run on, and how to get what is missing."""
    from edgeresnet.device import environment, integer_speed_note
    from edgeresnet.report.results import write_json
    from edgeresnet.report.tables import devices_table
    from edgeresnet.targets import TARGETS
    from edgeresnet.width_steps import known_steps, remember_step

    if measure_widths:
        from edgeresnet.prune.steps import measure_step

        for name, target in TARGETS.items():
            device = target.default_device
            if device in [found.name for found in target.devices()]:
                step = measure_step(name, device, threads=threads, on_step=speaker(quiet))
                remember_step(name, device, step)
    listed = []
    for name, target in TARGETS.items():
        here = target.available()
        found = [vars(device) for device in target.devices()]
        listed.append(
            {
                "name": name, "available": here.usable, "version": here.version,
                "reason": here.reason, "fix": here.fix, "devices": found,
                "missing": [vars(lacking) for lacking in target.missing()],
            }
        )  # fmt: skip
    result = {
        "schema": 1, "targets": listed, "width_steps": known_steps(), "environment": environment(),
    }  # fmt: skip
    if json:
        write_json(result, json)
    note = integer_speed_note()
    steps = [f"measured width step of {k}: {v} channels" for k, v in known_steps().items()]
    show(devices_table(result), *steps, *([note] if note else []), quiet=quiet, json=json)
    if not any(target["available"] for target in listed):
        raise MissingError("no target runs here", "pip install 'edgeresnet[onnx]'")
