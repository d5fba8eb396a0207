"""Commands that need no torch: build, profile, evaluate, compare, inspect, devices."""

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
    On,
    Quiet,
    Seed,
    SkipBroken,
    Threads,
    show,
    speaker,
)
from edgeresnet.cli_remote import result_from
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.options import Budgets

if TYPE_CHECKING:
    from edgeresnet.dataset import Dataset
    from edgeresnet.opening import Opened
    from edgeresnet.targets.protocol import RunOptions

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Bundle, .onnx, .xml, .engine or checkpoint.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: edgeresnet build bundle --device gpu")(build)
    app.command(epilog="Example: edgeresnet profile bundle --batch 1,8 --layers")(profile)
    app.command(epilog="Example: edgeresnet evaluate bundle --data photos")(evaluate)
    app.command(
        epilog="Example: edgeresnet compare fp32-bundle int8-bundle --data photos --max-drop 0.005"
    )(compare)
    app.command(epilog="Example: edgeresnet inspect bundle --json -")(inspect)
    app.command(epilog="Example: edgeresnet devices")(devices)


def build(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
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
    """Compile a bundle for a device of this machine, into BUNDLE/engines."""
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
        line = f"target {result['target']} compiles when it loads; there is nothing to keep"
    else:
        line = f"{bundle / result['engine']}, {result['size_bytes'] / 2**20:.1f} MiB"
    show(line, quiet=quiet, json=json)


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
    from edgeresnet.report.tables import energy_table, layers_table, profile_table, stage_lines
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
    tables: list[object] = [profile_table(measured), *stage_lines(measured)]
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
        dataset = _dataset(data, [opened], limit, skip_broken=skip_broken)
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


def compare(
    context: typer.Context,
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="Measured against.")],
    candidates: Annotated[list[Path], typer.Argument(metavar="CANDIDATE...", help="One or more.")],
    data: MaybeData = None,
    device: DeviceName = None,
    max_drop: Annotated[
        Optional[float], typer.Option("--max-drop", help="Budget: top-1 lost, absolute.")
    ] = None,
    max_p99_ms: Annotated[
        Optional[float], typer.Option("--max-p99-ms", help="Budget: 99th percentile.")
    ] = None,
    min_speedup: Annotated[
        Optional[float], typer.Option("--min-speedup", help="Budget: times the baseline's speed.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed runs of each.", min=2)] = 200,
    batch: Annotated[int, typer.Option("--batch", help="Images in a timed run.", min=1)] = 1,
    limit: Limit = None,
    threads: Threads = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = False,
    allow_fallback: AllowFallback = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Accuracy and latency before and after, in one interleaved run; exit 1 over a budget."""
    paths = [baseline, *candidates]
    if on:
        result = result_from(on, context, paths, data=data, needs_data=True, quiet=quiet)
        show_comparison(result, json, quiet)
        enforce(result)
        return
    from contextlib import ExitStack

    from edgeresnet.compare import compare as compare_models
    from edgeresnet.opening import open_model
    from edgeresnet.progress import images_progress
    from edgeresnet.targets.protocol import RunOptions

    options = RunOptions(threads=threads, allow_fallback=allow_fallback)
    with ExitStack() as stack:
        models = [
            stack.enter_context(
                open_model(path, device=device, options=options, image_size=image_size)
            )
            for path in paths
        ]
        dataset = _dataset(data, models, limit, skip_broken=skip_broken)
        total = len(models) * len(dataset)
        advance = stack.enter_context(images_progress("evaluating", total, enabled=not quiet))
        result = compare_models(
            models, dataset, Budgets(max_drop, max_p99_ms, min_speedup), rounds=rounds,
            batch=batch, seed=seed, on_images=advance,
        )  # fmt: skip
    show_comparison(result, json, quiet)
    enforce(result)


def show_comparison(result: dict[str, Any], json: str | None, quiet: bool) -> None:
    """Table, note and budgets; JSON where it is wanted."""
    from edgeresnet.report.results import write_json
    from edgeresnet.report.tables import budget_lines, compare_table

    if json:
        write_json(result, json)
    note = [result["note"]] if result["note"] else []
    show(compare_table(result), *note, *budget_lines(result), quiet=quiet, json=json)


def enforce(result: dict[str, Any]) -> None:
    """Exit 1 if a budget was missed."""
    missed = [b["name"] for b in result["budgets"] if not b["met"]]
    if missed:
        raise CheckError(
            f"budget missed: {', '.join(missed)}",
            "raise the budget, or quantize with --method qat and more --epochs.",
        )


def inspect(model: Model, json: Json = None, quiet: Quiet = False) -> None:
    """Layers, widths, multiply-accumulates, parameters and precision of each."""
    from edgeresnet.report.results import write_json
    from edgeresnet.report.tables import engines_table, inspect_table, widths_table

    if (model / "manifest.json").is_file() or model.is_dir():
        from edgeresnet.bundle import ENGINES, load_bundle
        from edgeresnet.targets.engine_record import describe_engines

        result = load_bundle(model).manifest.description()
        result["engines"] = describe_engines(model / ENGINES)
    else:
        from edgeresnet.inspecting import describe_checkpoint

        result = describe_checkpoint(str(model))
    result = {"schema": 1, **result}
    if json:
        write_json(result, json)
    extra = [widths_table(result["pruning"])] if result["pruning"] else []
    extra += [engines_table(result["engines"])] if result.get("engines") else []
    show(inspect_table(result), *extra, quiet=quiet, json=json)


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


def _dataset(
    data: str | None, models: list[Opened], limit: int | None, *, skip_broken: bool
) -> Dataset:
    """The validation images, of classes that fit every model."""
    from edgeresnet.cli_options import say
    from edgeresnet.dataset import check_classes, open_dataset

    spec = data or next((m.data for m in models if m.data), None)
    if spec is None:
        raise InputError(
            f"{models[0].name} does not say what it was trained on", "give --data, e.g. a folder."
        )
    dataset = open_dataset(spec, "val", limit=limit, skip_broken=skip_broken)
    if dataset.skipped:
        say(f"left out {len(dataset.skipped)} unreadable images")
    for model in models:
        if model.classes is not None:
            check_classes(dataset, model.classes)
    return dataset


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
