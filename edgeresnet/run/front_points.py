"""What is drawn of several depths: top-1 against latency, size and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeresnet.api.profile import profile
from edgeresnet.device.machine.power_sensors import NO_SENSOR
from edgeresnet.results.front import FrontPoint
from edgeresnet.results.measured import CompareResults
from edgeresnet.settings.measuring import ProfileSettings, RunOptions

# What there should be little of, by what it is called in ``best_at``.
COSTS = {"latency": "p50_ms", "size": "megabytes", "energy": "energy_mj"}


def front_points(
    rows: Sequence[Mapping[str, Any]],
    networks: Mapping[str, CompareResults],
    bundles: Sequence[Path],
    options: RunOptions,
) -> tuple[list[FrontPoint], str]:
    """``points`` and ``energy`` of `FrontResults`.

    Energy is measured here, a bundle at a time, where the machine has a sensor.

    Args:
        rows: of the comparison of all.
        networks: by a row's name, the results of the network's own run.
        bundles: of the rows.
        options: how they are run.
    """
    points, sensors, reasons = list[FrontPoint](), set[str](), set[str]()
    for row, path in zip(rows, bundles, strict=True):
        energy_mj = None
        if not row["emulated"]:
            quick = ProfileSettings(preset="quick")
            batches = None if options.batch is None else [options.batch]
            own = profile(
                path, device=row["device"], batches=batches,
                options=RunOptions(threads=options.threads), how=quick,
            )  # fmt: skip
            told = own.get("energy") or {"sensor": None, "reason": None}
            (sensors if told["sensor"] else reasons).add(told["sensor"] or told["reason"] or "")
            energy_mj = own.get("energy_mj")
        points.append(_point(row, path, networks[row["name"]], energy_mj))
    for point in points:
        point["best_at"] = [name for name, key in COSTS.items() if _is_best(point, points, key)]
    said = sorted(sensors) or sorted(filter(None, reasons)) or [NO_SENSOR]
    return points, "; ".join(said)


def _point(
    row: Mapping[str, Any], path: Path, network: CompareResults, energy_mj: float | None
) -> FrontPoint:
    own = next(one for one in network["rows"] if one["name"] == path.name)
    change = own["top1_difference"] if own["name"] != network["baseline"] else None
    quantized = change is not None and own["precision"] != "fp32"
    low_high = [-change["high"], -change["low"]] if quantized and change is not None else None
    return FrontPoint(
        name=row["name"],
        arch=row["name"].partition("-")[0],
        target=row["target"],
        precision=row["precision"],
        top1=row["top1"],
        top1_interval=row["top1_interval"],
        drop=-change["value"] if quantized and change is not None else None,
        drop_interval=low_high,
        p50_ms=row["p50_ms"],
        p50_interval_ms=row.get("p50_interval_ms"),
        megabytes=sum(p.stat().st_size for p in path.iterdir() if p.stem == "model") / 1e6,
        energy_mj=energy_mj,
        best_at=[],
    )


def _is_best(point: FrontPoint, points: Sequence[FrontPoint], cost: str) -> bool:
    """Whether nothing costs less and answers as well, or answers better and costs no more."""
    spent, top1 = point[cost], point["top1"]  # type: ignore[literal-required] # of COSTS
    if spent is None or top1 is None:
        return False
    for other in points:
        rival, its_top1 = other[cost], other["top1"]  # type: ignore[literal-required]
        if rival is None or its_top1 is None:
            continue
        if rival <= spent and its_top1 >= top1 and (rival < spent or its_top1 > top1):
            return False
    return True
