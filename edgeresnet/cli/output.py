"""How commands speak: lines, tables, JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from edgeresnet.cli.plain_text import say, say_line
from edgeresnet.device.machine.process_environment import SERVING
from edgeresnet.device.measure import budgets
from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.files.hashes import CHUNK_BYTES
from edgeresnet.files.outputs import check_output_file
from edgeresnet.files.places import from_home, is_stream
from edgeresnet.files.ranks import is_first
from edgeresnet.files.writing import writing
from edgeresnet.progress import OnStep, TaskContext, silent


def show_comparison(
    result: Mapping[str, Any],
    json: str | None,
    quiet: bool,
    *,
    pairwise: bool = False,
    record_host: bool,
) -> None:
    """Table, note and budgets; JSON where it is wanted."""
    from edgeresnet.report.decisions import change_lines
    from edgeresnet.report.embeddings import embedding_lines
    from edgeresnet.report.fastest import fastest_line
    from edgeresnet.report.features import feature_lines
    from edgeresnet.report.front import front_lines, front_table
    from edgeresnet.report.steadiness import note_lines, outlier_lines, warning_lines
    from edgeresnet.report.tables import agreement_table, budget_lines, cold_lines, compare_table

    front = result.get("front")
    depths = [front_table(front), *front_lines(front)] if front else []
    note = [result["note"]] if result["note"] else []
    pairs = [agreement_table(result)] if pairwise else []
    tell(
        result,
        compare_table(result),
        *depths,
        *change_lines(result["rows"]),
        *(f"* {fastest_line(one)}" for one in result.get("fastest", {}).values()),
        *note_lines(result["rows"]),
        *embedding_lines(result["rows"]),
        *feature_lines(result["rows"]),
        *cold_lines(result["rows"]),
        *pairs,
        *note,
        *budget_lines(result),
        *outlier_lines(result["rows"]),
        *warning_lines(result["rows"]),
        quiet=quiet,
        json=json,
        record_host=record_host,
    )


def enforce(result: Mapping[str, Any]) -> None:
    """Exit 1 if a budget was missed, or if there is a doubt and ``--strict``."""
    strict, doubts = result.get("strict", False), result.get("doubts", ())
    budgets.enforce(result["budgets"], strict=strict, doubts=doubts)


def show_unmeasured(result: Mapping[str, Any], quiet: bool) -> None:
    """What a run has made for another device, and the commands to measure it there; on stderr."""
    if result["unmeasured"] and not quiet:
        say(f"not measured here: {', '.join(result['unmeasured'])}. To measure on the device:")
        for command in result["device_commands"]:
            say(f"  {command}")
        say("or build and compare from here, over ssh, with --on ssh://USER@HOST.")


def enforce_measured(result: Mapping[str, Any], limits: list[str]) -> None:
    """Exit 3 if budgets are set and a bundle was made that this machine cannot measure."""
    if result["unmeasured"] and limits:
        raise MissingError(
            f"not checked for {', '.join(result['unmeasured'])}: {', '.join(limits)}",
            "run the device_commands of results.json, which check it on the device.",
        )


def expanded(value: Any) -> Any:
    """A path, or several, with ``~`` as the home folder: a shell leaves it alone in ``-o=~/x``."""
    if isinstance(value, (list, tuple)):
        return [from_home(path) for path in value]
    return value and from_home(value)


def writable_json(value: str | None) -> str | None:
    """What ``--json`` names, refused before the work if it could not be written after it."""
    if value is not None and is_first():
        check_json(value)
    return value


def recordable(context: typer.Context, value: bool) -> bool:
    """``--record-host``, refused before the work where nothing is written that it would be in."""
    if value and context.params.get("json") is None:
        raise InputError("--record-host would have no effect without --json", "give --json too.")
    return value


def task_context(
    *,
    data: str | None,
    limit: int | None,
    skip_broken: bool,
    quiet: bool,
    class_order: str | None = None,
    classes: str | None = None,
) -> TaskContext:
    """What the options that every long task has come to."""
    return TaskContext(
        data=data,
        limit=limit,
        skip_broken=skip_broken,
        class_order=class_order,
        classes_path=None if classes is None else from_home(classes),
        progress=not quiet and is_first(),
        on_step=speaker(quiet),
    )


def speaker(quiet: bool) -> OnStep:
    """`say_line`, or nothing with ``--quiet``, and where another process speaks for this one."""
    return silent if quiet or not is_first() else say_line


def tell(
    result: Mapping[str, Any],
    *renderables: object,
    json: str | None,
    quiet: bool,
    record_host: bool,
) -> None:
    """Write a result as JSON, where that is wanted, and show it as tables.

    Raises:
        EdgeResNetError: the JSON cannot be written. The tables are shown then even with
            ``--quiet``: the work may have taken hours.
    """
    if json and is_first():
        from edgeresnet.device.machine.privacy import write_result

        try:
            write_result({"schema": 1, **result}, json, record_host=record_host, option="--json")
        except EdgeResNetError:
            show(*renderables, quiet=False, json=json)
            raise
    show(*renderables, quiet=quiet, json=json)


def show(*renderables: object, quiet: bool, json: str | None) -> None:
    """Tables on stdout; on stderr when JSON has stdout."""
    if quiet or SERVING in os.environ or not is_first():
        return
    from edgeresnet.cli.plain_text import make_console

    console = make_console(stderr=json == "-")
    for renderable in renderables:
        console.print(renderable, highlight=False)


def check_json(target: str | Path) -> None:
    """Refuse, before the work, a file that a result could not be written to.

    Raises:
        InputError: it cannot be written, or holds something else than a result.
    """
    path = from_home(target)
    if str(target) == "-" or is_stream(path):
        return
    check_output_file(path, "--json", "--json result.json")
    with writing(path, "--json", begun=False):
        if path.is_file() and not _is_result(path):
            raise InputError(
                f"--json {path} is there already and is no result of edgeresnet",
                "give another file, or remove this one.",
            )


def check_apart(output: Path, target: str | None) -> None:
    """Refuse one file for a checkpoint and for its figures.

    Raises:
        InputError: ``-o`` and ``--json`` are the same.
    """
    if target is not None and os.path.realpath(output) == os.path.realpath(from_home(target)):
        raise InputError(f"-o and --json are the same file, {output}", "give another --json.")


def _is_result(path: Path) -> bool:
    """Whether a file begins as all our results do, or is empty."""
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES).strip()
    return not head or re.match(rb'{\s*"schema"', head) is not None
