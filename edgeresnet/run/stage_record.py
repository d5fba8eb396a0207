"""What a run reads of what it left before: that a stage stands, and what quantizing cost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.device.bundle.bundle import load_bundle, read_manifest
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.errors import InputError
from edgeresnet.files.folders import restore_folder
from edgeresnet.files.hashes import sha256_file
from edgeresnet.progress import OnStep
from edgeresnet.results.measured import RungResults
from edgeresnet.settings.base import MOST_IMAGES
from edgeresnet.untrusted import read_record

REPORT = "report.json"
T = TypeVar("T")


class Record(TypedDict):
    """What says that a stage stands; what its key was made of, since there is a need to tell."""

    stage: str
    key: str
    seconds: float
    version: NotRequired[int]
    settings: NotRequired[Any]
    # SHA-256 by the name in the run; earlier versions wrote none. A bundle's manifest has its own.
    outputs: NotRequired[dict[str, str]]


Count = Annotated[int, Field(ge=0, le=MOST_IMAGES)]


class QuantizeReport(TypedDict):
    """What a budget asks of the report of 03-quantize, and its rows, rung by rung."""

    method: str
    top1_float: float | None
    drop: NotRequired[float | None]
    drop_interval: NotRequired[list[float] | None]
    agreement: NotRequired[float | None]
    agreement_interval: NotRequired[list[float] | None]
    # Older versions wrote no counts.
    images: NotRequired[Count]
    looks: NotRequired[Annotated[list[Count], Field(min_length=1)]]
    lost: NotRequired[Count | None]
    gained: NotRequired[Count | None]
    class_changes: NotRequired[
        dict[str, Annotated[list[Count], Field(min_length=3, max_length=3)]] | None
    ]
    rungs: NotRequired[list[RungResults]]


def read_stage_record(path: Path) -> Record | None:
    """What says that a stage stands; None without a record, or with a damaged one."""
    return whole_record(path, Record)


def whole_record(path: Path, kind: type[T]) -> T | None:
    """What a run left by its schema; None: nothing, or something damaged."""
    if not path.exists():
        return None
    try:
        return read_record(path, kind, "record", "it is made again.")
    except InputError:
        return None


def why_not_standing(record_path: Path, key: str, run_dir: Path, output: Path) -> str | None:
    """Why a stage is to be run; None if it stands.

    Args:
        record_path: of the stage's record.
        key: that the stage must have.
        run_dir: of the run.
        output: what the stage wrote: a checkpoint, or a bundle.

    Returns:
        Empty where it was not run yet, or with other settings.
    """
    restore_folder(output)
    if not record_path.exists():
        return ""
    try:
        record = read_record(record_path, Record, "stage record", "the stage runs again.")
    except InputError as error:
        return error.cause
    if record["key"] != key or not output.exists():
        return ""
    return _damage(record.get("outputs", {}), run_dir, output)


def _damage(told: Mapping[str, str], run_dir: Path, output: Path) -> str | None:
    """What is no longer as the stage wrote it; None where all is."""
    if output.is_dir():
        try:
            load_bundle(output, check_engines=False)
        except InputError as error:
            return error.cause
        return None
    if not output.stat().st_size:
        return f"{output} is empty"
    there = output_hashes(run_dir, output)
    changed = [name for name, expected in told.items() if there.get(name) != expected]
    return f"{changed[0]} is not what was written (its sha256 differs)" if changed else None


def stand(record_path: Path, record: Record, run_dir: Path, output: Path) -> None:
    """Write the record of a stage that has done its work; see `why_not_standing`."""
    record_path.parent.mkdir(parents=True, exist_ok=True)
    told = Record(**record, outputs=output_hashes(run_dir, output))
    write_result(told, record_path)


def output_hashes(run_dir: Path, output: Path) -> dict[str, str]:
    """SHA-256 of a stage's checkpoint and report, by their names in the run; none of a bundle."""
    files = [path for path in (output, output.with_name(REPORT)) if path.is_file()]
    return {path.relative_to(run_dir).as_posix(): sha256_file(path) for path in files}


def set_aside(output: Path, on_step: OnStep) -> None:
    """Move a bundle out of the way whose manifest no longer says what in it is ours."""
    if not output.is_dir():
        return
    try:
        read_manifest(output)
    except InputError:
        beside = (output.with_name(f"{output.name}.damaged-{n}") for n in count(1))
        aside = next(path for path in beside if not path.exists())
        output.rename(aside)
        on_step(f"what is left of {output} is kept as {aside}")


def read_report(path: Path, fix: str) -> QuantizeReport:
    """The report of 03-quantize.

    Raises:
        InputError: it is not there, or says something else.
    """
    return read_record(path, QuantizeReport, "report", fix)
