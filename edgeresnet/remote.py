"""The same commands on another machine: sends what they need, runs them there, brings back JSON.

Layout there, in ``~/.cache/edgeresnet/remote``: ``package/`` (this edgeresnet), ``venv/`` (what it
needs, if no Python there had it), ``models/``, ``data/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeresnet.bundle import load_bundle, record_engines
from edgeresnet.connection import Address, Connection
from edgeresnet.errors import MissingError
from edgeresnet.parcels import (
    ENGINES,
    Parcel,
    data_parcel,
    fetch,
    model_parcel,
    package_parcel,
    send,
)

PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.10")
OLDEST_PYTHON = [3, 10]
# How the command line begins an error; see `edgeresnet.cli.main`.
ERROR_STARTS = ("error: ", "failed: ", "missing: ", "Traceback ")
Say = Callable[[str], object]


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
class FarSide:
    """What is known of the device.

    Attributes:
        root: of the cache there.
        rsync: whether it has rsync.
        python: that starts edgeresnet.
        package_dir: where this edgeresnet lies there.
    """

    root: str
    rsync: bool
    python: str
    package_dir: str


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


def run_there(address: Address, job: Job, say: Say) -> Outcome:
    """Run a command on another machine.

    Args:
        address: of the machine.
        job: what to run.
        say: called with each line of progress.

    Raises:
        InputError: a model or the data is not usable; nothing was connected to.
        MissingError: the machine cannot be reached or lacks something, or the connection broke.
    """
    packed = [model_parcel(path) for path in job.models]
    images = data_parcel(job.data, job.limit) if job.data else None
    with Connection(address) as connection:
        far = _prepare(connection, sorted({target for _, _, target in packed}), say)
        for parcel in [*(p for p, _, _ in packed), *([images[0]] if images else [])]:
            _send(connection, parcel, far, say)
        paths = [f"{far.root}/{parcel.place}/{name}" for parcel, name, _ in packed]
        environment = {"PYTHONPATH": far.package_dir}
        options = [*job.options, "--json", "-"]
        if images and job.data:
            parcel, name = images
            place = f"{far.root}/{parcel.place}"
            options += ["--data", f"{place}/{name}" if name else job.data]
            if name is None and parcel.files:
                environment["EDGERESNET_DATA"] = place
        outcome = _stream(connection, far, job.command, [*options, *paths], environment, say)
        result = outcome.result
        if result is not None and job.command == "build" and result["engine"]:
            fetch(connection, f"{paths[0]}/{ENGINES}", job.models[0] / ENGINES)
            record_engines(load_bundle(job.models[0], check_engines=False))
    if result is not None and "data" in result and job.data:
        result["data"] = job.data
    return outcome


def _stream(
    connection: Connection,
    far: FarSide,
    command: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    say: Say,
) -> Outcome:
    """Run edgeresnet there; its stderr is passed on line by line, with the machine's name."""
    held: list[str] = []

    def pass_on(line: str) -> None:
        # An error at the end is only told if it is not the result itself (a missed budget).
        if held or line.startswith(ERROR_STARTS):
            held.append(line)
        elif line:
            say(f"{connection.address}: {line}")

    settings = [f"{name}={value}" for name, value in environment.items()]
    code, text = connection.stream(
        ["env", *settings, far.python, "-m", "edgeresnet.far_end", "run", command, *arguments],
        pass_on,
        f"{command} ran",
    )
    return Outcome(code, _parsed(text), tuple(f"{connection.address}: {line}" for line in held))


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        result = json.loads(text)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def _send(connection: Connection, parcel: Parcel, far: FarSide, say: Say) -> None:
    say(
        f"{connection.address}: {len(parcel.files)} files, {parcel.size_bytes / 2**20:.1f} MiB, "
        f"in {parcel.place}"
    )
    send(connection, parcel, far.root, far.python, far.rsync)


def _prepare(connection: Connection, targets: Sequence[str], say: Say) -> FarSide:
    """Find a Python there that has what edgeresnet needs, or make one."""
    python, found = _probe(connection)
    root, package = found["root"], package_parcel()
    far = FarSide(root, bool(found["rsync"]), python, f"{root}/{package.place}")
    _send(connection, package, far, say)
    requirements, extras = _requirements(targets)
    own = f"{root}/venv/bin/python"
    for candidate in filter(None, (found["interpreter"], own, python)):
        if _missing(connection, candidate, requirements, extras) == []:
            return FarSide(far.root, far.rsync, candidate, far.package_dir)
    _install(connection, python, own, requirements, extras, say)
    return FarSide(far.root, far.rsync, own, far.package_dir)


def _probe(connection: Connection) -> tuple[str, dict[str, Any]]:
    """The first Python there that is new enough, and what it says of the machine."""
    for python in PYTHONS:
        found = connection.far_end(python, "probe")
        if found and found["version"] >= OLDEST_PYTHON:
            return python, found
    raise MissingError(
        f"{connection.address} has no Python 3.10 or later",
        "install one there that is called python3.10 or later (JetPack 6 brings it).",
    )


def _requirements(targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """What this edgeresnet requires, and the extras for these targets."""
    try:
        package = metadata.metadata("edgeresnet")
    except metadata.PackageNotFoundError as error:
        raise MissingError(
            "--on has to know what edgeresnet needs, but it is not installed here",
            "pip install -e . in its folder.",
        ) from error
    extras = [t for t in targets if t in (package.get_all("Provides-Extra") or [])]
    listed = metadata.requires("edgeresnet") or []
    # TensorRT comes with JetPack, or with the driver's packages; pip on a Jetson has none.
    return [r for r in listed if not r.startswith("tensorrt")], extras


def _missing(
    connection: Connection, python: str, requirements: Sequence[str], extras: Sequence[str]
) -> list[str] | None:
    """What that Python lacks; None if there is none, or it is too old or too bare to tell."""
    found = connection.far_end(python, "probe")
    if not found or found["version"] < OLDEST_PYTHON:
        return None
    lacking: list[str] | None = connection.far_end(
        python, "missing", json.dumps(requirements), json.dumps(extras)
    )
    return lacking


def _install(
    connection: Connection,
    python: str,
    own: str,
    requirements: Sequence[str],
    extras: Sequence[str],
    say: Say,
) -> None:
    """Make a virtual environment there, which sees the system's TensorRT, and fill it."""
    venv_dir = own.removesuffix("/bin/python")
    fix = (
        "let it reach a package index for a moment, or install there by hand: "
        f"pip install 'edgeresnet[{','.join(extras)}]'"
    )
    if _missing(connection, own, requirements, extras) is None:
        make = [python, "-m", "venv", "--clear", "--system-site-packages", venv_dir]
        _run_step(connection, make, "sudo apt-get install python3-venv on it.")
    lacking = _missing(connection, own, requirements, extras)
    if lacking:
        say(f"{connection.address}: installing {', '.join(lacking)}")
        _run_step(connection, [own, "-m", "pip", "install", "-q", *lacking], fix)
    if _missing(connection, own, requirements, extras) != []:
        raise MissingError(f"{connection.address} still lacks packages after installing", fix)


def _run_step(connection: Connection, command: Sequence[str], fix: str) -> None:
    lines: list[str] = []
    code, output = connection.stream(command, lines.append, "installing")
    if code:
        told = [line for line in [*output.splitlines(), *lines] if line.strip()]
        raise MissingError(
            f"{connection.address} could not run {' '.join(command[:4])} …: "
            f"{told[-1] if told else f'exit code {code}'}",
            fix,
        )
