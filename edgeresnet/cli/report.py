"""The command report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import Limit, Quiet
from edgeresnet.cli.output import expanded, speaker
from edgeresnet.errors import InputError

EXAMPLE = "edgeresnet report runs/quickstart"


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run, or a file that compare --json or run --json wrote.",
            callback=expanded,
        ),
    ],
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output",
            "-o",
            help="File to write; left out: report.html in RUN, or beside the file.",
            callback=expanded,
        ),
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print Markdown for a pull request instead of a page."),
    ] = False,
    data: Annotated[
        Optional[str],
        typer.Option(
            "--data",
            metavar="SPEC",
            help="Images that were measured on, to show those whose answer changed; run shows them "
            "by itself.",
        ),
    ] = None,
    limit: Limit = None,
    quiet: Quiet = False,
) -> None:
    """Write the page of a run: verdict, before and after, charts, ladder, stages, full record.

    One HTML file that needs nothing else: it opens without a network, in the dark, on a phone and
    on paper. For a pull request: --markdown
    """
    idle = {"-o": output, "--data": data}
    if markdown and (told := [name for name, value in idle.items() if value is not None]):
        raise InputError(
            f"--markdown is printed and has no images, so {' and '.join(told)} has no effect",
            "leave it out, and redirect what is printed.",
        )
    if limit is not None and data is None:
        raise InputError("--limit has no effect without --data", "give the data too.")
    from edgeresnet.run.report_page import read_results, write_page

    if markdown:
        from edgeresnet.report.page.markdown import markdown as in_markdown

        print(in_markdown(read_results(source)), end="")
        return
    page = write_page(source, output, data=data, limit=limit)
    speaker(quiet)(f"report: {page}")
