"""The command report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.options import Quiet
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
    quiet: Quiet = False,
) -> None:
    """Write the page of a run: verdict, before and after, charts, ladder, stages, full record.

    One HTML file that needs nothing else: it opens without a network, in the dark, on a phone and
    on paper. For a pull request: --markdown
    """
    if markdown and output is not None:
        raise InputError("--markdown is printed, so -o has no effect", "redirect what is printed.")
    from edgeresnet.run.report_page import read_results, write_page

    if markdown:
        from edgeresnet.report.page.markdown import markdown as in_markdown

        print(in_markdown(read_results(source)), end="")
        return
    speaker(quiet)(f"report: {write_page(source, output)}")
