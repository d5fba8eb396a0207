"""What share of a device's peak a model reaches, and what keeps it from more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeresnet.device.measure.layers import TimedLayers, layer_name, layer_rows
from edgeresnet.device.measure.peak import is_busy, peak_rates
from edgeresnet.device.measure.why_slow import loss_rows
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.errors import InputError

# What takes time beside multiplying at the peak, and how it is said.
LIMITS = {
    "below_peak": "layers that multiply below the peak",
    "other_layers": "layers that multiply nothing",
    "conversions": "changes of layout and type",
    "between": "what passes between the layers",
}
CONVERSIONS = ("layout", "quantize", "dequantize")
MOST_NAMED = 2


def best_rates(timed: TimedLayers) -> dict[str, float]:
    """In each precision that layers multiply in, the rate of the fastest of them, in GMAC/s."""
    best: dict[str, float] = {}
    for layer in timed.profiles:
        macs = timed.macs_of(layer)
        if macs and layer.time_ms > 0:
            rate = macs / layer.time_ms / 1e6
            best[layer.precision] = max(best.get(layer.precision, 0.0), rate)
    return best


def where_time_goes(
    timed: TimedLayers, p50_ms: float | None, *, listed: bool, why_slow: bool
) -> dict[str, Any]:
    """What ``profile`` adds to its figures: the share of the peak, and what is asked for.

    Args:
        timed: the layers at the first batch size.
        p50_ms: of a run there without a profiler; None: the runs were not alone, and no share of
            the peak is told.
        listed: whether the layers themselves are wanted.
        why_slow: whether the departures from the ideal graph are.

    Raises:
        InputError: they are, and the runtime does not say what became of the model's nodes.
    """
    peaks = peak_rates(timed.target, timed.device, best_rates(timed), timed.threads)
    share = None if p50_ms is None else of_peak(timed, peaks, p50_ms, busy=is_busy())
    told: dict[str, Any] = {} if share is None else {"of_peak": share}
    if listed:
        told["layers"] = layer_rows(timed, peaks)
        told["layers_ms"], told["layers_run_ms"] = timed.sum_ms, timed.run_ms
    if why_slow:
        if not timed.nodes:
            raise InputError(
                f"--why-slow needs the graph that is executed, and target {timed.target} does not "
                "tell it",
                "leave it out; --layers lists the kernels that it has.",
            )
        told["why_slow"] = loss_rows(timed)
    return told


def of_peak(
    timed: TimedLayers, peaks: Mapping[str, float], p50_ms: float, *, busy: bool = False
) -> dict[str, Any] | None:
    """The JSON contract of a model's share of the peak; None where none could be measured.

    The share is the time that its multiplications take at the peak of each layer's precision, of
    the median time of a run. ``lost_ms`` says where a run of the timed layers spends the rest.

    Args:
        timed: the layers.
        peaks: GMAC/s in each precision.
        p50_ms: median of the runs without a profiler.
        busy: whether other programs wanted the processor too.
    """
    ideal_ms = {layer.name: _ideal_ms(timed, layer, peaks) for layer in timed.profiles}
    if not any(ideal_ms.values()) or None in ideal_ms.values():
        return None
    at_peak_ms = sum(ms or 0.0 for ms in ideal_ms.values())
    lost = dict.fromkeys(LIMITS, 0.0)
    slowest: dict[str, dict[str, float]] = {limit: {} for limit in LIMITS}
    for layer in timed.profiles:
        ideal = ideal_ms[layer.name] or 0.0
        kind = _limit_of(layer) if not ideal else "below_peak"
        lost[kind] += max(0.0, layer.time_ms - ideal)
        slowest[kind][layer_name(layer)] = layer.time_ms - ideal
    lost["between"] = max(0.0, timed.run_ms - timed.sum_ms)
    macs = sum(map(timed.macs_of, timed.profiles))
    facts = {
        "share": at_peak_ms / p50_ms,
        "gmacs_per_s": macs / p50_ms / 1e6,
        "peak_gmacs_per_s": {name: peaks[name] for name in best_rates(timed)},
        "lost_ms": lost,
        "limit": max(lost, key=lost.__getitem__),
        "busy": busy,
    }
    return {**facts, "text": _text(facts, slowest, timed.run_ms)}


def _ideal_ms(timed: TimedLayers, layer: LayerProfile, peaks: Mapping[str, float]) -> float | None:
    """At the peak; 0 of what multiplies nothing, None where the peak is not known."""
    macs = timed.macs_of(layer)
    if not macs:
        return 0.0
    peak = peaks.get(layer.precision)
    return None if peak is None else macs / peak / 1e6


def _limit_of(layer: LayerProfile) -> str:
    return "conversions" if layer.role in CONVERSIONS else "other_layers"


def _text(
    facts: Mapping[str, Any], slowest: Mapping[str, Mapping[str, float]], run_ms: float
) -> str:
    """One line for people, as ``62 % of the peak …: limited by …``."""
    peaks = facts["peak_gmacs_per_s"]
    told = ", ".join(f"{rate:.0f} in {precision}" for precision, rate in peaks.items())
    limit, lost = facts["limit"], facts["lost_ms"]
    worst = sorted(slowest[limit], key=lambda name: -slowest[limit][name])[:MOST_NAMED]
    most = f", most of all {' and '.join(worst)}" if worst else ""
    most += ", while other programs wanted the processor too" if facts["busy"] else ""
    return (
        f"{100 * facts['share']:.0f} % of the peak here ({facts['gmacs_per_s']:.1f} GMAC/s of "
        f"{told}); what limits it: {LIMITS[limit]}, {lost[limit]:.2f} of {run_ms:.2f} ms{most}"
    )
