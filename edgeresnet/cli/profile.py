"""The command profile."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    AllowFallback,
    DeviceName,
    ImageSize,
    Json,
    Model,
    On,
    Quiet,
    Threads,
)
from edgeresnet.cli.output import show
from edgeresnet.errors import InputError

EXAMPLE = "edgeresnet profile bundle --batch 1,8 --layers"


def profile(
    context: typer.Context,
    model: Model,
    device: DeviceName = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also the time of each layer, from the runtime.")
    ] = False,
    batch: Annotated[
        Optional[str], typer.Option("--batch", help="Sizes, as 1,8; default: the model's own.")
    ] = None,
    threads: Threads = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph/--no-cuda-graph", help="tensorrt: one launch for all.")
    ] = True,
    spin_wait: Annotated[
        bool, typer.Option("--spin-wait", help="tensorrt: poll the GPU; keeps a core busy.")
    ] = False,
    image_size: ImageSize = None,
    allow_fallback: AllowFallback = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Latency, throughput, memory and energy of a model on a device."""
    from edgeresnet.device.targets.protocol import LayerProfile
    from edgeresnet.report.tables import (
        cold_lines,
        energy_table,
        layers_table,
        profile_table,
        share_lines,
        stage_lines,
    )

    sizes = _sizes(batch)
    if on:
        result = result_from(on, context, [model], quiet=quiet)
    else:
        from edgeresnet.api.opening import open_model
        from edgeresnet.device.measure.profile import profile_model

        rows, layer_profiles = profile_model(
            model, open_model, device=device, batches=sizes, threads=threads, image_size=image_size,
            layers=layers, cuda_graph=cuda_graph, spin_wait=spin_wait,
            allow_fallback=allow_fallback,
        )  # fmt: skip
        listed = {"layers": [vars(layer) for layer in layer_profiles]} if layers else {}
        result = {"schema": 1, **rows[0], "batches": rows, **listed}
    if json:
        from edgeresnet.files import write_json

        write_json(result, json)
    measured = result["batches"]
    tables: list[object] = [profile_table(measured), *cold_lines(measured)]
    tables += stage_lines(measured)
    if any("energy_mj" in row for row in measured):
        tables.append(energy_table(measured))
    if layers:
        tables.append(layers_table([LayerProfile(**layer) for layer in result["layers"]]))
    tables += share_lines(measured[0].get("placement", ()))
    warnings = dict.fromkeys(text for row in measured for text in row.get("warnings", ()))
    show(*tables, *(f"warning: {text}" for text in warnings), quiet=quiet, json=json)


def _sizes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise InputError(f"--batch {text} is not a list of sizes", "give it as --batch 1,8.")
    return sizes
