"""Commands that measure one model: profile and evaluate. They need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgeresnet.cli_options import (
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
    measured_data,
    show,
)
from edgeresnet.cli_remote import result_from
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from edgeresnet.targets.protocol import RunOptions


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: edgeresnet profile bundle --batch 1,8 --layers")(profile)
    app.command(epilog="Example: edgeresnet evaluate bundle --data photos")(evaluate)


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
    from edgeresnet.placement import share_lines
    from edgeresnet.report.tables import (
        cold_lines,
        energy_table,
        layers_table,
        profile_table,
        stage_lines,
    )
    from edgeresnet.targets.protocol import LayerProfile

    sizes = _sizes(batch)
    if on:
        result = result_from(on, context, [model], quiet=quiet)
    else:
        from edgeresnet.profiling import profile_model

        rows, layer_profiles = profile_model(
            model, device=device, batches=sizes, threads=threads, image_size=image_size,
            layers=layers, cuda_graph=cuda_graph, spin_wait=spin_wait,
            allow_fallback=allow_fallback,
        )  # fmt: skip
        listed = {"layers": [vars(layer) for layer in layer_profiles]} if layers else {}
        result = {"schema": 1, **rows[0], "batches": rows, **listed}
    if json:
        from edgeresnet.report.results import write_json

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
    from edgeresnet.placement import share_lines
    from edgeresnet.report.tables import evaluate_table

    if on:
        result = result_from(on, context, [model], data=data, needs_data=True, quiet=quiet)
    else:
        from edgeresnet.targets.protocol import RunOptions

        result = _evaluate(
            model, data, device, limit,
            RunOptions(threads=threads, allow_fallback=allow_fallback), image_size,
            skip_broken=skip_broken, quiet=quiet,
        )  # fmt: skip
    if json:
        from edgeresnet.report.results import write_json

        write_json(result, json)
    placed = share_lines(result.get("placement", ()))
    show(evaluate_table(result), *placed, quiet=quiet, json=json)


def _evaluate(
    model: Path,
    data: str | None,
    device: str | None,
    limit: int | None,
    options: RunOptions,
    image_size: int | None,
    *,
    skip_broken: bool,
    quiet: bool,
) -> dict[str, Any]:
    from edgeresnet.accuracy import accuracy, predict
    from edgeresnet.opening import open_model
    from edgeresnet.progress import images_progress

    with open_model(model, device=device, options=options, image_size=image_size) as opened:
        dataset = measured_data(data, [opened], limit, skip_broken=skip_broken)
        with images_progress("evaluating", len(dataset), enabled=not quiet) as advance:
            predictions = predict(
                opened.session, dataset, opened.input_spec,
                embed_preprocess=opened.embed_preprocess, on_images=advance,
            )  # fmt: skip
        figures = accuracy(predictions)
        placement = opened.placement(allow_fallback=options.allow_fallback)
    return {
        "schema": 1,
        "target": opened.target,
        "device": opened.device,
        "precision": opened.precision,
        **figures.to_dict(),
        "per_class": dict(zip(dataset.classes, figures.per_class, strict=True)),
        "data": dataset.name,
        "skipped": list(dataset.skipped),
        "preprocess_ms": predictions.preprocess_ms,
        "run_ms": None if opened.emulated else predictions.run_ms,
        "emulated": opened.emulated,
        "placement": placement,
    }


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
