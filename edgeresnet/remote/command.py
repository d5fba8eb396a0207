"""The same commands on another machine: sends what they need, runs them there, brings back JSON.

Layout there, in ``~/.cache/edgeresnet/remote``: ``package/`` (this edgeresnet), ``venv/`` (what it
needs, if no Python there had it), ``models/``, ``data/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.write_bundle import record_engines
from edgeresnet.device.machine.process_environment import SERVING
from edgeresnet.device.targets.engine_record import RECORD
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.errors import MissingError
from edgeresnet.files.locks import alone, in_turn
from edgeresnet.progress import OnStep
from edgeresnet.remote.answers import MOST_LINES, RESULTS, parsed
from edgeresnet.remote.bootstrap import Machine, prepare_machine, send_parcel
from edgeresnet.remote.fetch import fetch
from edgeresnet.remote.images import data_parcel, told_outside
from edgeresnet.remote.ssh import Address, Connection
from edgeresnet.remote.transfer import model_parcel
from edgeresnet.untrusted import checked, short

# How the command line begins an error; see `edgeresnet.cli.app.main`.
ERROR_STARTS = ("error: ", "failed: ", "missing: ", "Traceback ")


@dataclass(frozen=True)
class Job:
    """A command as it is to run there.

    Attributes:
        command: profile, evaluate, compare or build.
        options: of the command line, without models and data.
        models: paths here.
        data: DATA SPEC here; None if the command takes none.
        limit: images at most.
    """

    command: str
    options: tuple[str, ...]
    models: tuple[Path, ...]
    data: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command ended there.

    Attributes:
        code: its exit code.
        result: its JSON; None if it wrote none.
        errors: why, line by line.
    """

    code: int
    result: dict[str, Any] | None
    errors: tuple[str, ...]


def run_there(address: Address, job: Job, on_step: OnStep) -> Outcome:
    """Run a command on another machine.

    Args:
        address: of the machine.
        job: what to run.
        on_step: called with each line of progress.

    Raises:
        InputError: a model or the data is not usable; nothing was connected to.
        MissingError: the machine cannot be reached or lacks something, or the connection broke.
    """
    packed = [model_parcel(path) for path in job.models]
    # The other commands look at labels, and refuse here what has none.
    unlabelled = job.command == "compare"
    images = data_parcel(job.data, job.limit, unlabelled=unlabelled) if job.data else None
    if images and job.data and (line := told_outside(images[0], job.data)):
        on_step(line)
    # One command would replace the files of another, and two that measure disturb each other.
    with in_turn(str(address), on_step), Connection(address) as connection:
        machine = prepare_machine(connection, sorted({target for _, _, target in packed}), on_step)
        for parcel in [*(p for p, _, _ in packed), *([images[0]] if images else [])]:
            send_parcel(connection, parcel, machine, on_step)
        paths = [f"{machine.root}/{parcel.place}/{name}" for parcel, name, _ in packed]
        environment = {"PYTHONPATH": machine.package_dir, SERVING: "1"}
        options = [*job.options, "--json", "-"]
        if images and job.data:
            parcel, name = images
            place = f"{machine.root}/{parcel.place}"
            options += ["--data", f"{place}/{name}" if name else job.data]
            if name is None and parcel.files:
                environment["EDGERESNET_DATA"] = place
        outcome = _stream(connection, machine, job, [*options, *paths], environment, on_step)
        result = outcome.result
        if result is not None and job.command == "build" and result["engine"]:
            names = [f"{Path(result['engine']).name}{suffix}" for suffix in ("", RECORD)]
            place = f"{paths[0]}/{ENGINES}"
            with alone(job.models[0], "bundle"):
                fetch(connection, place, job.models[0] / ENGINES, names, machine.python)
                record_engines(load_bundle(job.models[0], check_engines=False))
    if result is not None and "data" in result and job.data:
        result["data"] = job.data
    return outcome


def _stream(
    connection: Connection,
    machine: Machine,
    job: Job,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    on_step: OnStep,
) -> Outcome:
    """Run edgeresnet there; its stderr is passed on line by line, with the machine's name."""
    held: list[str] = []

    def pass_on(line: str) -> None:
        # An error at the end is only told if it is not the result itself (a missed budget).
        if held or line.startswith(ERROR_STARTS):
            if len(held) < MOST_LINES:
                held.append(line)
        elif line:
            on_step(f"{connection.address}: {line}")

    settings = [f"{name}={value}" for name, value in environment.items()]
    code, text = connection.stream(
        ["env", *settings, machine.python, "-m", "edgeresnet", job.command, *arguments],
        pass_on,
        f"{job.command} ran",
    )
    return Outcome(
        code,
        _parsed(text, job, connection.address),
        tuple(f"{connection.address}: {line}" for line in held),
    )


def _parsed(text: bytes | None, job: Job, address: Address) -> dict[str, Any] | None:
    """The command's JSON; None where it has printed none.

    Raises:
        MissingError: it is not that command's.
    """
    if text is None or not text.strip():
        return None
    result = parsed(text, dict[str, Any], address)
    try:
        for kind in RESULTS[job.command]:
            checked(result, kind)
    except ValueError as error:
        raise MissingError(
            f"{address} gives another result than {job.command} has: {short(str(error))}",
            "look at the edgeresnet of that machine: it is not what was sent there.",
        ) from error
    return result
