"""Gets the other machine ready: finds its Python, sends this package, installs what is missing."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.errors import MissingError
from edgeresnet.progress import OnStep
from edgeresnet.remote.answers import MOST_LINES, Probed
from edgeresnet.remote.probe import OLDEST_PYTHON
from edgeresnet.remote.ssh import Connection
from edgeresnet.remote.transfer import Parcel, package_parcel, send

PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.10")


@dataclass(frozen=True)
class Machine:
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


def prepare_machine(connection: Connection, targets: Sequence[str], on_step: OnStep) -> Machine:
    """Find a Python there that has what edgeresnet needs, or make one."""
    python, told = _probe(connection)
    root, package = told["root"], package_parcel()
    machine = Machine(root, told["rsync"], python, f"{root}/{package.place}")
    send_parcel(connection, package, machine, on_step)
    requirements, extras = _requirements(targets)
    own = f"{root}/venv/bin/python"
    for candidate in filter(None, (told["interpreter"], own, python)):
        if _missing(connection, candidate, requirements, extras) == []:
            return Machine(machine.root, machine.rsync, candidate, machine.package_dir)
    _install(connection, python, own, requirements, extras, on_step)
    return Machine(machine.root, machine.rsync, own, machine.package_dir)


def _probe(connection: Connection) -> tuple[str, Probed]:
    """The first Python there that is new enough, and what it says of the machine."""
    for python in PYTHONS:
        told = connection.run_probe(Probed, python, "probe")
        if told and tuple(told["version"]) >= OLDEST_PYTHON:
            return python, told
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
    provided = package.get_all("Provides-Extra") or []
    extras = [extra for name in targets if (extra := target_of(name).spec.extra) in provided]
    listed = metadata.requires("edgeresnet") or []
    of_system = tuple(name for t in TARGETS.values() for name in t.spec.system_packages)
    return [r for r in listed if not r.startswith(of_system)], extras


def _missing(
    connection: Connection, python: str, requirements: Sequence[str], extras: Sequence[str]
) -> list[str] | None:
    """What that Python lacks; None if there is none, or it is too old or too bare to tell."""
    return connection.run_probe(
        list[str], python, "missing", json.dumps(requirements), json.dumps(extras)
    )


def _install(
    connection: Connection,
    python: str,
    own: str,
    requirements: Sequence[str],
    extras: Sequence[str],
    on_step: OnStep,
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
        on_step(f"{connection.address}: installing {', '.join(lacking)}")
        _run_step(connection, [own, "-m", "pip", "install", "-q", *lacking], fix)
    if _missing(connection, own, requirements, extras) != []:
        raise MissingError(f"{connection.address} still lacks packages after installing", fix)


def _run_step(connection: Connection, command: Sequence[str], fix: str) -> None:
    lines: deque[str] = deque(maxlen=MOST_LINES)
    code, output = connection.stream(command, lines.append, "installing")
    if code:
        told = [
            line
            for line in [*(output or b"").decode(errors="replace").splitlines(), *lines]
            if line.strip()
        ]
        raise MissingError(
            f"{connection.address} could not run {' '.join(command[:4])} …: "
            f"{told[-1] if told else f'exit code {code}'}",
            fix,
        )


def send_parcel(connection: Connection, parcel: Parcel, machine: Machine, on_step: OnStep) -> None:
    on_step(
        f"{connection.address}: {len(parcel.files)} files, {parcel.size_bytes / 2**20:.1f} MiB, "
        f"in {parcel.place}"
    )
    send(connection, parcel, machine.root, machine.python, machine.rsync)
