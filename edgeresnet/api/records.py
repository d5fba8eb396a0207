"""Two records of ``profile``, compared later."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.device.measure import records
from edgeresnet.results.records import RecordPair


def compare_records(first: str | Path, second: str | Path) -> RecordPair:
    """Say whether two records of ``profile`` are comparable, and which of them is faster.

    Args:
        first: file that ``profile --json`` wrote.
        second: likewise; the ratio says how many times as fast it is.

    Raises:
        InputError: one is something else, or they have no batch size in common.
    """
    paths = Path(first), Path(second)
    read = [records.read_profile(path) for path in paths]
    names = paths[0].name, paths[1].name
    if names[0] == names[1]:
        names = str(paths[0]), str(paths[1])
    return records.compare_records(read[0], read[1], names)
