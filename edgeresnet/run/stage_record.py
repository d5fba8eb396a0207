"""What a run reads of what it left before: that a stage stands, and what quantizing cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from edgeresnet.errors import InputError
from edgeresnet.untrusted import read_record


class Record(TypedDict):
    """What says that a stage stands; what its key was made of, since there is a need to tell."""

    stage: str
    key: str
    seconds: float
    version: NotRequired[int]
    settings: NotRequired[Any]


class QuantizeReport(TypedDict):
    """What a budget asks of the report of 03-quantize."""

    method: str
    top1_float: float | None
    drop: NotRequired[float | None]
    drop_interval: NotRequired[list[float] | None]
    agreement: NotRequired[float | None]
    agreement_interval: NotRequired[list[float] | None]


def recorded_key(path: Path) -> str | None:
    """The key of a stage that stands; None without a record, or with a damaged one: it reruns."""
    record = read_stage_record(path)
    return None if record is None else record["key"]


def read_stage_record(path: Path) -> Record | None:
    """What says that a stage stands; None without a record, or with a damaged one."""
    if not path.exists():
        return None
    try:
        return read_record(path, Record, "stage record", "the stage runs again.")
    except InputError:
        return None


def read_report(path: Path, fix: str) -> QuantizeReport:
    """The report of 03-quantize.

    Raises:
        InputError: it is not there, or says something else.
    """
    return read_record(path, QuantizeReport, "report", fix)
