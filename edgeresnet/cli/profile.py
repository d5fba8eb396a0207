"""The command profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Optional

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
from edgeresnet.cli.output import give, show
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
        phase_lines,
        profile_table,
        share_lines,
    )

    sizes = _sizes(batch)
    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, [model], quiet=quiet)
    else:
        from edgeresnet.api.profile import profile as profile_model
        from edgeresnet.settings.measuring import RunOptions

        result = profile_model(
            model, device=device, batches=sizes, image_size=image_size, layers=layers,
            options=RunOptions(
                threads=threads, cuda_graph=cuda_graph, spin_wait=spin_wait,
                allow_fallback=allow_fallback,
            ),
        )  # fmt: skip
    give(result, json)
    measured = result["batches"]
    tables: list[object] = [profile_table(measured), *cold_lines(measured)]
    tables += phase_lines(measured)
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
