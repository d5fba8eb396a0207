"""``--on``: the command that was given, told again to another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from edgeresnet.cli.output import speaker
from edgeresnet.cli.plain_text import say_line
from edgeresnet.errors import InputError, MissingError

# What the near side does itself, or says in the far side's own paths.
NEAR_OPTIONS = {"on", "json", "quiet", "data"}


def result_from(
    on: str,
    context: typer.Context,
    models: Sequence[Path],
    *,
    data: str | None = None,
    needs_data: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the command of this context on another machine.

    Args:
        on: ``ssh://[user@]host[:port]``.
        context: of the command; every option that was given goes along.
        models: its arguments.
        data: DATA SPEC that was given; None takes what the first model remembers.
        needs_data: whether the command looks at images.
        quiet: no progress.

    Returns:
        The command's JSON. Where there is none, the far side has said why, and this process exits
        as that one did.

    Raises:
        InputError: an option names a file here.
        MissingError: the far side gave neither a result nor a reason.
    """
    from edgeresnet.remote.command import Job, run_there
    from edgeresnet.remote.ssh import Address

    address = Address.parse(on)
    if context.params.get("classes") is not None:
        raise InputError(
            "--classes names a file here, which the other machine does not have",
            "export a bundle with --classes; it takes the names along.",
        )
    if context.params.get("trust") is not None:
        raise InputError(
            "--trust names a key here, which the other machine does not have",
            "check the bundle here (edgeresnet inspect --trust), or run the command there.",
        )
    spec = (data or _remembered(models)) if needs_data else None
    options = [*given_options(context), *(["--quiet"] if quiet else [])]
    job = Job(
        str(context.info_name), tuple(options), tuple(models), spec, context.params.get("limit")
    )
    outcome = run_there(address, job, speaker(quiet))
    if outcome.result is None:
        if not outcome.errors:
            raise MissingError(
                f"{address}: {job.command} ended with code {outcome.code}, without a result or an "
                "error",
                "log in there by hand, and look at what it prints and at its memory (free -m).",
            )
        for line in outcome.errors:
            say_line(line)
        raise typer.Exit(outcome.code or 1)
    return outcome.result


def given_options(context: typer.Context) -> list[str]:
    """The options that the user gave, as on a command line, without those of the near side."""
    given: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        wanted = parameter.param_type_name == "option" and name not in NEAR_OPTIONS
        if not wanted or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if isinstance(value, bool):
            given.append((parameter.opts if value else parameter.secondary_opts)[0])
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            given += [parameter.opts[0], str(one)]
    return given


def _remembered(models: Sequence[Path]) -> str | None:
    from edgeresnet.device.bundle.bundle import load_bundle
    from edgeresnet.device.bundle.manifest import MANIFEST
    from edgeresnet.device.data.remembered import check_remembered

    for path in models:
        if (path / MANIFEST).is_file() and (manifest := load_bundle(path).manifest).data:
            check_remembered(manifest.data, manifest.data_fingerprint, path.name)
            return manifest.data
    return None
