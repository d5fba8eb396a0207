"""The command profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    NETWORK,
    DeviceName,
    ImageSize,
    Json,
    Model,
    On,
    Quiet,
    RecordHostInJson,
    Strict,
)
from edgeresnet.cli.output import enforce, tell
from edgeresnet.cli.plain_text import say
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.device.measure.stability import stability_doubts
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import ProfileSettings, RunOptions

EXAMPLE = "edgeresnet profile bundle --batch 1,8 --layers"
OPTIONS = Fields(
    "threads", "cuda_graph", "spin_wait", "allow_fallback", "first_run_limit_s", "trust", "raw",
    *NETWORK.keys,
)  # fmt: skip
HOW = Fields("preset", "sweep_threads", "concurrency", "cpus")


@with_settings
def profile(
    context: typer.Context,
    model: Model,
    options: Annotated[RunOptions, OPTIONS],
    how: Annotated[ProfileSettings, HOW],
    device: DeviceName = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Show also the time of each layer, as the runtime tells it."),
    ] = False,
    why_slow: Annotated[
        bool,
        typer.Option(
            "--why-slow",
            help="Show what each float layer, change of layout, unaligned width, unfused add and "
            "missing Q/DQ costs, and the command that wins it back.",
        ),
    ] = False,
    batch: Annotated[
        Optional[str],
        typer.Option("--batch", help="Batch sizes to measure, as 1,8; left out: the model's own."),
    ] = None,
    image_size: ImageSize = None,
    strict: Strict = False,
    on: On = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Latency, throughput, memory and energy of a model on a device."""
    sizes = _sizes(batch)
    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, [model], quiet=quiet)
    else:
        from edgeresnet.api.profile import profile as profile_model

        result = profile_model(
            model, device=device, batches=sizes, image_size=image_size, layers=layers,
            why_slow=why_slow, options=options, how=how, on_step=say,
        )  # fmt: skip
    tell(result, *_tables(result), quiet=quiet, json=json, record_host=record_host)
    enforce({"budgets": [], "strict": strict, "doubts": stability_doubts(result["batches"])})


def _tables(result: Mapping[str, Any]) -> list[object]:
    """What a terminal shows of a profile."""
    from edgeresnet.report.layers import layers_table, why_slow_lines
    from edgeresnet.report.steadiness import (
        idle_lines,
        interval_lines,
        no_energy_lines,
        outlier_lines,
        preset_lines,
        warning_lines,
    )
    from edgeresnet.report.tables import (
        cold_lines,
        energy_table,
        phase_lines,
        profile_table,
        share_lines,
    )

    measured = result["batches"]
    tables: list[object] = [profile_table(measured), *interval_lines(measured)]
    tables += [*cold_lines(measured), *idle_lines(measured), *preset_lines(measured)]
    tables += phase_lines(measured)
    if any("energy_mj" in row for row in measured):
        tables.append(energy_table(measured))
    tables += no_energy_lines(measured)
    if "layers" in result:
        tables.append(layers_table(result))
    if "why_slow" in result:
        tables += why_slow_lines(result["why_slow"])
    tables += share_lines(measured[0].get("placement", ()))
    tables += [*outlier_lines(measured), *warning_lines(measured)]
    return [*tables, result["of_peak"]["text"]] if "of_peak" in result else tables


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
