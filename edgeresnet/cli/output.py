"""How commands speak: lines, tables, JSON."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgeresnet.device.measure import budgets
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files import from_home
from edgeresnet.progress import SERVING
from edgeresnet.settings.training import TrainOptions

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint


def show_comparison(
    result: dict[str, Any], json: str | None, quiet: bool, *, pairwise: bool = False
) -> None:
    """Table, note and budgets; JSON where it is wanted."""
    from edgeresnet.files import write_json
    from edgeresnet.report.tables import agreement_table, budget_lines, cold_lines, compare_table

    if json:
        write_json(result, json)
    note = [result["note"]] if result["note"] else []
    pairs = [agreement_table(result)] if pairwise else []
    show(
        compare_table(result),
        *cold_lines(result["rows"]),
        *pairs,
        *note,
        *budget_lines(result),
        quiet=quiet,
        json=json,
    )


def enforce(result: dict[str, Any]) -> None:
    """Exit 1 if a budget was missed."""
    budgets.enforce(result["budgets"], strict=result.get("strict", False))


def show_unmeasured(result: dict[str, Any], quiet: bool) -> None:
    """What a run has made for another device, and the commands to measure it there; on stderr."""
    if result["unmeasured"] and not quiet:
        say(f"not measured here: {', '.join(result['unmeasured'])}. To measure on the device:")
        for command in result["device_commands"]:
            say(f"  {command}")
        say("or build and compare from here, over ssh, with --on ssh://USER@HOST.")


def enforce_measured(result: dict[str, Any], limits: list[str]) -> None:
    """Exit 3 if budgets are set and a bundle was made that this machine cannot measure."""
    if result["unmeasured"] and limits:
        raise MissingError(
            f"not checked for {', '.join(result['unmeasured'])}: {', '.join(limits)}",
            "run the device_commands of results.json, which check it on the device.",
        )


def training_of(
    defaults: TrainOptions, epochs: int, batch_size: int, lr: float, augment: str, seed: int
) -> TrainOptions:
    """The settings of a recovery or a quantization-aware training."""
    return replace(
        defaults, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
        augment=augment,  # type: ignore[arg-type]
    )  # fmt: skip


def beside(output: Path, suffix: str) -> Path:
    """Where an interrupted command keeps what it goes on from."""
    return output.with_name(f".{output.name}.{suffix}")


def finish(
    checkpoint: Checkpoint,
    output: Path,
    line: str,
    *,
    unfinished: Path,
    quiet: bool,
    figures: dict[str, Any] | None = None,
    json: str | None = None,
) -> None:
    """Save the result, remove what an interrupted run would have gone on from, and tell."""
    from edgeresnet.files import write_json
    from edgeresnet.host.models.checkpoint import save_checkpoint

    save_checkpoint(checkpoint, output)
    if unfinished.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
    else:
        unfinished.unlink(missing_ok=True)
    if json:
        write_json({"schema": 1, **(figures or {})}, json)
    show(line, quiet=quiet, json=json)


def expanded(value: Any) -> Any:
    """A path, or several, with ``~`` as the home folder: a shell leaves it alone in ``-o=~/x``."""
    if isinstance(value, (list, tuple)):
        return [from_home(path) for path in value]
    return value and from_home(value)


def say(text: str) -> None:
    """One plain line on stderr."""
    typer.echo(text, err=True)


def checked_output(path: Path) -> Path:
    """Refuse an output file before the work, not after it."""
    if path.is_dir():
        raise InputError(f"-o {path} is a folder", "give a file, such as -o model.pt.")
    parent = path.absolute().parent
    if parent.exists() and not parent.is_dir():
        raise InputError(f"-o {path}: {parent} is a file", "give another -o.")
    return path


def speaker(quiet: bool) -> Callable[[str], object]:
    """`say`, or nothing with ``--quiet``."""
    return (lambda text: None) if quiet else say


def show(*renderables: object, quiet: bool, json: str | None) -> None:
    """Tables on stdout; on stderr when JSON has stdout."""
    if quiet or SERVING in os.environ:
        return
    from rich.console import Console

    # Markup would eat what stands in brackets: an extra, a class of that name, a path.
    console = Console(stderr=json == "-", markup=False)
    for renderable in renderables:
        console.print(renderable, highlight=False)
