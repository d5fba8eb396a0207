"""The page of a run: what its folder has, as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.outputs import check_output_file
from edgeresnet.files.writing import write_text, writing
from edgeresnet.results.measured import CompareResults
from edgeresnet.run.folder import RECORDS
from edgeresnet.run.stage_record import Record, whole_record
from edgeresnet.untrusted import read_record

RESULTS, PAGE = "results.json", "report.html"
FIX = "give a run's folder, or a file that compare --json or run --json wrote."


def read_results(source: Path) -> CompareResults:
    """Of a run's folder, or of a file of results.

    Raises:
        InputError: there are none, or they are something else.
    """
    path = source / RESULTS if source.is_dir() else source
    if not path.exists():
        what = f"{source} has no {RESULTS}" if source.is_dir() else f"{source} does not exist"
        raise InputError(what, FIX)
    return read_record(path, CompareResults, "file of results", FIX)


def write_page(source: Path, output: Path | None = None) -> Path:
    """Write the page of a run, or of a comparison's results.

    Args:
        source: a run's folder, or a file of results.
        output: None: ``report.html`` in the run, or beside the file.

    Returns:
        Where it is.

    Raises:
        InputError: there are no results, or the page cannot be written.
        MissingError: what draws it is not installed.
    """
    results = read_results(source)
    beside = source / PAGE if source.is_dir() else source.with_suffix(".html")
    path = output or beside
    check_output_file(path, "-o", PAGE)
    if lacking := packages_lacking():
        raise MissingError(
            f"the page is made with {' and '.join(lacking)}, which are not installed",
            "pip install 'edgeresnet[host]'; or give --markdown, which needs nothing.",
        )
    from edgeresnet.report.page.page import page

    text = page(results, _stages(source))
    with writing(path):
        write_text(text, path)
    return path


def packages_lacking() -> list[str]:
    """Packages that the page is made with and that are not installed."""
    return [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]


def _stages(source: Path) -> Sequence[Mapping[str, Any]]:
    """The records of the stages that stand, in their order; none of a file."""
    if not source.is_dir():
        return []
    paths = sorted((source / RECORDS).glob("*.json"))
    records = [whole_record(path, Record) for path in paths if ".failed" not in path.name]
    return [record for record in records if record is not None]
