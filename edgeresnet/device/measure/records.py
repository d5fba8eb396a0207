"""Two records of ``profile`` held against each other: are they comparable, and which is faster?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeresnet.device.measure.ratio import Ratio, ratio_of
from edgeresnet.errors import InputError
from edgeresnet.results.measured import ProfileResults
from edgeresnet.results.records import RecordPair, RecordRow
from edgeresnet.untrusted import read_record

BLOCKS = 20
FIX = "give two files that profile --json wrote."
# Of a machine what must be the same, as a reader knows it.
FACTS = {
    "cpu": "processor", "cores": "processors that may be used", "affinity": "affinity",
    "cpu_quota": "CPU quota", "memory_mib": "memory in MiB", "board": "board and power mode",
    "system": "system", "cpu_flags": "instructions",
}  # fmt: skip
# The kernel keeps more or less of the memory for itself.
MEMORY_WITHIN = 0.02


def read_profile(path: Path) -> ProfileResults:
    """A record of ``profile``.

    Raises:
        InputError: it is something else.
    """
    return read_record(path, ProfileResults, "record of profile", FIX)


def compare_records(
    first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]
) -> RecordPair:
    """Say whether two records are comparable, why not, and how many times as fast the second is.

    Args:
        first: of ``profile``.
        second: likewise.
        names: by which they are told.

    Raises:
        InputError: they have no batch size in common.
    """
    ours, theirs = ({_key(row): row for row in one["batches"]} for one in (first, second))
    common = [key for key in ours if key in theirs]
    if not common:
        raise InputError(
            f"{names[0]} and {names[1]} have no batch size in common", "measure one again."
        )
    reasons = list(dict.fromkeys(_reasons(ours[common[0]], theirs[common[0]])))
    for key in common:
        reasons += [line for line in _shaky(ours[key], theirs[key], names) if line not in reasons]
    models = [one.get("model_sha256") for one in (first, second)]
    return RecordPair(
        schema=1,
        records=list(names),
        comparable=not reasons,
        reasons=reasons,
        same_model=models[0] == models[1] if None not in models else None,
        rows=[_row(ours[key], theirs[key]) for key in common],
    )


def _key(row: Mapping[str, Any]) -> tuple[int, int | None]:
    return row["batch"], row.get("concurrency")


def _reasons(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """What of machine and options differs."""
    for key in ("target", "device", "threads"):
        if first[key] != second[key]:
            yield f"{key}: {first[key]} and {second[key]}"
    for key, one, other in _differing(first.get("options") or {}, second.get("options") or {}):
        if key not in ("threads", "batch", "precision"):
            yield f"option {key}: {one} and {other}"
    here, there = first["environment"], second["environment"]
    for key, name in FACTS.items():
        one, other = here.get(key), there.get(key)
        alike = one == other
        if key == "memory_mib" and one and other:
            alike = abs(one - other) <= MEMORY_WITHIN * max(one, other)
        if not alike:
            yield f"{name}: {one} and {other}"
    for key, one, other in _differing(here.get("versions") or {}, there.get("versions") or {}):
        yield f"version of {key}: {one} and {other}"
    modes = [row["board"]["before"].get("power_mode") for row in (first, second)]
    governors = [
        sorted({str(clock.get("governor")) for clock in row["board"]["before"].get("clocks", ())})
        for row in (first, second)
    ]
    for name, (one, other) in (("power mode", modes), ("governors", governors)):
        if one != other:
            yield f"{name}: {one} and {other}"


def _differing(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield key, first.get(key), second.get(key)


def _shaky(
    first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]
) -> Iterator[str]:
    """What speaks against the figures themselves."""
    for row, name in zip((first, second), names, strict=True):
        if (stability := row.get("stability")) is None:
            yield f"{name} does not say whether it is stable: an older version wrote it"
        elif stability["stable"] is False:
            yield f"{name} is not stable: {str(stability['cause']).rstrip('.')}"
        if not row.get("samples_ms"):
            yield f"{name} has no raw samples, so the ratio has no interval"


def _row(first: Mapping[str, Any], second: Mapping[str, Any]) -> RecordRow:
    ratio = _ratio(first, second)
    return RecordRow(
        batch=first["batch"],
        p50_ms=[first["p50_ms"], second["p50_ms"]],
        p99_ms=[first["p99_ms"], second["p99_ms"]],
        speedup=None if ratio is None else {**ratio.to_dict()},  # type: ignore[typeddict-item]
        speedup_note=None if ratio is None else ratio.note,
    )


def _ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> Ratio | None:
    samples = [np.array(row.get("samples_ms") or [], np.float64) for row in (first, second)]
    if all(len(one) >= 2 * BLOCKS and (one > 0).all() for one in samples):
        # The first runs are left over where blocks do not fit; the value is of all of them.
        before, after = (one[len(one) % BLOCKS :].reshape(BLOCKS, -1) for one in samples)
        return ratio_of(before, after, paired=False)
    medians = first["p50_ms"], second["p50_ms"]
    if not all(medians):
        return None
    note = "no interval of the speed-up: one record has too few raw samples."
    return Ratio(medians[0] / medians[1], None, None, note)
