"""An audit as a terminal table that fits 80 columns: a line for each claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from edgeresnet.results.audit import BROKEN, HELD, NOT_CHECKED, NOT_COMPARABLE

STYLES = {HELD: "green", BROKEN: "bold red", NOT_COMPARABLE: "yellow", NOT_CHECKED: "yellow"}


def audit_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """For each subject a table of its claims.

    Args:
        result: of ``verify``.
    """
    for subject, claims in groupby(result["claims"], key=lambda claim: str(claim["subject"])):
        table = Table(
            title=Text(subject), title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        table.add_column("claim", no_wrap=True, min_width=15)
        table.add_column("outcome", no_wrap=True, min_width=14)
        table.add_column("what was found", overflow="fold")
        for claim in claims:
            table.add_row(
                Text(claim["name"]),
                Text(claim["outcome"], style=STYLES[claim["outcome"]]),
                Text(claim["text"]),
            )
        yield table
