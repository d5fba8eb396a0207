"""The command devices."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeresnet.cli.options import Json, Quiet, Threads
from edgeresnet.cli.output import show, speaker
from edgeresnet.errors import MissingError

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
    quiet: Quiet = False,
) -> None:
    """What this machine can run on, and how to get what is missing."""
    from edgeresnet.device.machine.environment import environment, integer_speed_note
    from edgeresnet.device.machine.width_steps import known_steps, remember_step
    from edgeresnet.device.targets.registry import TARGETS
    from edgeresnet.files import write_json
    from edgeresnet.report.tables import devices_table

    if measure_widths:
        from edgeresnet.host.pruning.width_step import measure_step

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
