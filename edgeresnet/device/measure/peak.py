"""The highest rate of multiplication that a device reaches: measured once, then remembered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from edgeresnet.closing import temporary_folder
from edgeresnet.device.machine.board import ROOT, read_text
from edgeresnet.device.machine.cpu import usable_cores
from edgeresnet.device.machine.measured_once import MeasuredOnce
from edgeresnet.device.targets.ideal_network import ideal_macs, write_ideal_network
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import EdgeResNetError
from edgeresnet.settings.measuring import RunOptions

# Enough for a processor to reach its clock, and little beside what a profile takes anyway.
WARMUP, LEAST_RUNS, MOST_RUNS, SECONDS = 3, 10, 200, 0.7
Rate = Annotated[float, Field(gt=0, lt=1e9)]


class _Peak(TypedDict):
    gmacs_per_s: Rate
    busy: bool


PEAKS = MeasuredOnce[_Peak]("peaks", dict[str, _Peak], "measured peaks")


def peak_rates(
    target: str, device: str, reached: Mapping[str, float], threads: int | None, root: Path = ROOT
) -> dict[str, float]:
    """Peak in each precision, in GMAC/s; what cannot be measured here is left out.

    It is the fastest layer of a network of wide convolutions
    (`edgeresnet.device.targets.ideal_network`), run by the same runtime on as many threads, so it
    is what this runtime's kernels reach where the network is no hindrance. It is measured once for
    a processor and the versions installed, and then read from the cache. One that was measured
    beside other load is measured again as soon as there is none; and whatever a model's own layer
    reaches is no more than the peak.

    Args:
        target: whose runtime.
        device: of this machine.
        reached: the precisions asked for, with the best rate of a layer in each.
        threads: that the runtime gets; None: its own choice.
        root: where proc/ of the machine lies.
    """
    if not measures_peak(target, device):
        return {}
    busy = is_busy(root)
    found = {}
    for precision, best in reached.items():
        key = f"{target} {device} {precision} {threads or 'all'} threads"
        known = PEAKS.known().get(key)
        if known is None or (known["busy"] and not busy):
            rate = _measured(target, device, precision, threads)
            if rate is None:
                continue
            known = PEAKS.remember(key, partial(_higher, {"gmacs_per_s": rate, "busy": busy}))
        if known["gmacs_per_s"] < best:
            known = PEAKS.remember(key, partial(_higher, {**known, "gmacs_per_s": best}))
        found[precision] = known["gmacs_per_s"]
    return found


def measures_peak(target: str, device: str) -> bool:
    """Whether the peak of a target's device can be measured; False for no target's."""
    return target in TARGETS and TARGETS[target].spec.measures_peak(device)


def is_busy(root: Path = ROOT) -> bool:
    """Whether more wants to run than there are cores, by the average of the last minute."""
    words = read_text(root / "proc/loadavg").split()
    return bool(words) and float(words[0]) > usable_cores(root)


def _measured(target: str, device: str, precision: str, threads: int | None) -> float | None:
    """GMAC/s of the fastest layer; None where the runtime runs it in another precision."""
    quantized = is_quantized(precision)
    options = RunOptions(
        threads=threads, profile_layers=True, precision="fp32" if quantized else precision
    )
    with temporary_folder() as folder:
        path = write_ideal_network(Path(folder) / "ideal.onnx", quantized=quantized)
        try:
            with TARGETS[target].load(path, device, options) as session:
                images, start, runs = noise(session, 1), time.monotonic(), 0
                while runs < LEAST_RUNS + WARMUP or (
                    runs < MOST_RUNS and time.monotonic() - start < SECONDS
                ):
                    session.run(images)
                    runs += 1
                return fastest_rate(session.layers(runs - WARMUP), precision)
        except EdgeResNetError:
            # Without a peak there is no share of it, and all else is told.
            return None


def fastest_rate(layers: Iterable[LayerProfile], precision: str) -> float | None:
    """The best of all runs of all layers in a precision, in GMAC/s; None where none is in it."""
    macs = ideal_macs()
    rates = [
        macs[layer.nodes[0]] / min(times) / 1e6
        for layer in layers
        if layer.precision == precision and layer.nodes and layer.nodes[0] in macs
        if (times := [one for one in (*layer.times_ms, layer.time_ms) if one > 0])
    ]
    return max(rates, default=None)


def _higher(peak: _Peak, known: _Peak | None) -> _Peak:
    """What another process has found meanwhile may be higher."""
    if known is None or known["gmacs_per_s"] <= peak["gmacs_per_s"]:
        return peak
    return {**peak, "gmacs_per_s": known["gmacs_per_s"]}
