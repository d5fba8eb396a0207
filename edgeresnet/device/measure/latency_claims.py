"""Times of a record, held against times that were taken again: only where both mean something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A time of before as a share of one of now; p50 of the same model on the same machine, left alone,
# comes again within a tenth.
LOWEST, HIGHEST = 0.8, 1.25


def machine_of(result: Mapping[str, Any]) -> str | None:
    """The fingerprint of the machine of a comparison; None in results of older versions."""
    found = result["environment"].get("fingerprint")
    return None if found is None else str(found)


def why_other_machine(record: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Why times of a record say nothing of this machine's; None: they do.

    Args:
        record: results of a comparison.
        here: likewise, of this machine.
    """
    told, own = machine_of(record), machine_of(here)
    if told is None or own is None:
        return "the record has no fingerprint of its machine"
    if told != own:
        return "the record is of another machine, or of other versions"
    if record["batch"] != here["batch"]:
        return f"the record is of a batch of {record['batch']}, not {here['batch']}"
    return None


def why_unstable(row: Mapping[str, Any]) -> str | None:
    """Why a row's times are in doubt; None: they are not.

    Args:
        row: of a comparison; what has no ``stability`` was never looked at.
    """
    stability = row.get("stability")
    if stability is None:
        return "nobody looked whether it is stable"
    if stability.get("stable") is True:
        return None
    return str(stability.get("cause") or "nobody can tell whether it is stable").rstrip(".")


def why_not_judged(told: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Why two rows of times cannot be held against each other; None: they can."""
    if told["p50_ms"] is None or own["p50_ms"] is None:
        return "an emulator has no times"
    if (why := why_unstable(told)) is not None:
        return f"the record: {why}"
    if (why := why_unstable(own)) is not None:
        return f"the measurement now: {why}"
    return None


def ratio_fault(name: str, told: float, own: float, unit: str = "") -> str | None:
    """What is wrong with a figure that was measured again.

    Args:
        name: of it.
        told: by the record.
        own: of now.
        unit: behind the figures.
    """
    if LOWEST <= told / own <= HIGHEST:
        return None
    return (
        f"{name} {told:.4g}{unit} is told, and it is {own:.4g}{unit} here: {told / own:.2f} times "
        f"as much, where {LOWEST:g} to {HIGHEST:g} may be"
    )
