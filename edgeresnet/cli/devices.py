"""The command devices."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeresnet.cli.options import Json, Quiet, RecordHostInJson, Threads
from edgeresnet.cli.output import speaker, tell
from edgeresnet.errors import InputError, MissingError

EXAMPLE = "edgeresnet devices"


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
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """What this machine can run on, and how to get what is missing."""
    if threads is not None and not measure_widths:
        raise InputError(
            "--threads would have no effect: nothing is measured", "give --measure-widths too."
        )
    from edgeresnet.api.devices import devices as list_devices
    from edgeresnet.device.machine.environment import integer_speed_note
    from edgeresnet.report.tables import devices_table

    result = list_devices(measure_widths=measure_widths, threads=threads, on_step=speaker(quiet))
    note = integer_speed_note()
    steps = [f"measured width step of {k}: {v} channels" for k, v in result["width_steps"].items()]
    tell(
        result,
        devices_table(result),
        *steps,
        *([note] if note else []),
        quiet=quiet,
        json=json,
        record_host=record_host,
    )
    if not any(target["available"] for target in result["targets"]):
        raise MissingError("no target runs here", "pip install 'edgeresnet[onnx]'")
