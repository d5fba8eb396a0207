"""What a failed stage leaves in its run: the error, the settings that it had, and the versions."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from edgeresnet.device.machine.environment import versions
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.device.targets.failures import mendable
from edgeresnet.errors import EdgeResNetError
from edgeresnet.progress import OnStep
from edgeresnet.run.stage_record import whole_record

SCHEMA = 1


class Failure(TypedDict):
    """Why a stage ended; ``traceback`` of a fault of ours alone."""

    schema: int
    stage: str
    failed_at: str
    seconds: float
    kind: str
    message: str
    version: int
    settings: Any
    versions: dict[str, str]
    traceback: NotRequired[str]


def failure_path(record_path: Path) -> Path:
    """Where it lies, beside the stage's record."""
    return record_path.with_name(f"{record_path.stem}.failed.json")


def read_failure(path: Path) -> Failure | None:
    """What `failure_kept` left; None: nothing, or a damaged file."""
    return whole_record(path, Failure)


@contextmanager
def failure_kept(
    path: Path,
    stage: str,
    version: int,
    settings: Any,
    *,
    on_step: OnStep,
    record_host: bool = False,
) -> Iterator[None]:
    """Leaves the error of its block at ``path``, and raises it; removes what lies there if none.

    Args:
        path: of the file, written whole or not at all.
        stage: whose work the block does.
        version: of how the stage works.
        settings: all that decides its outcome, as plain values.
        on_step: told if the file cannot be written.
        record_host: leave paths in the messages.
    """
    start = time.monotonic()
    try:
        yield
    except Exception as error:
        told = mendable(error)
        failure = Failure(
            schema=SCHEMA,
            stage=stage,
            failed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=time.monotonic() - start,
            kind=type(error).__name__,
            message=str(told or error) or type(error).__name__,
            version=version,
            settings=settings,
            versions=versions(),
        )
        if told is None:
            failure["traceback"] = _traceback(error)
        try:
            write_result(failure, path, record_host=record_host)
        except (EdgeResNetError, OSError) as other:
            # Such as on a full disk, of which the error itself tells: that one is raised.
            on_step(f"{stage}: why it failed could not be kept: {other}")
        raise
    path.unlink(missing_ok=True)


def _traceback(error: Exception) -> str:
    """As Python prints it, with files by their place in a package and not on this machine."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        text = text.replace(folder.rstrip(os.sep) + os.sep, "")
    return text
