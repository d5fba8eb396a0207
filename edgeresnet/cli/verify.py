"""The command verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import (
    DeviceName,
    FirstRunLimit,
    Json,
    Limit,
    Quiet,
    RecordHostInJson,
    SkipBroken,
    Strict,
    Threads,
    Trust,
)
from edgeresnet.cli.output import expanded, task_context, tell
from edgeresnet.errors import CheckError

EXAMPLE = "edgeresnet verify runs/quickstart"
FIX = "trust none of its figures: ask whoever made it, or make it again from the checkpoint."
STRICT_FIX = "give what the line asks for, such as --data, or leave --strict out."


def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="BUNDLE|RUN", help="Folder of a bundle or of a run.", callback=expanded
        ),
    ],
    data: Annotated[
        Optional[str],
        typer.Option(
            "--data",
            metavar="SPEC",
            help="Images that were measured on; left out: those that it remembers, if they are "
            "here and known again.",
        ),
    ] = None,
    device: DeviceName = None,
    threads: Threads = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    trust: Trust = None,
    first_run_limit: FirstRunLimit = None,
    strict: Strict = False,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Recompute every claim that a bundle or a run makes, a line for each; exit 1 if one is false.

    Times count only on the machine that they were taken on, and where neither they nor the new
    ones are in doubt; else they are "not comparable", which is no failure.
    """
    from edgeresnet.report.audit import audit_tables
    from edgeresnet.run.verify import verify as audit
    from edgeresnet.settings.measuring import RunOptions

    context = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
    usual = RunOptions()
    options = RunOptions(
        threads=threads, trust=trust, first_run_limit_s=first_run_limit or usual.first_run_limit_s
    )
    result = audit(path, device=device, options=options, strict=strict, context=context)
    tell(
        result,
        *audit_tables(result),
        "" if result["broken"] else result["verdict_text"],
        quiet=quiet,
        json=json,
        record_host=record_host,
    )
    if (broken := result["broken"]) is not None:
        raise CheckError(
            f"{result['verdict_text'].rstrip('.')}: {broken['text']}",
            FIX if broken["outcome"] == "does not hold" else STRICT_FIX,
        )
