"""Whether INT8 is faster than a network's float precisions, where both run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeresnet.device.measure.interleaving import speedup
from edgeresnet.device.targets.precision import is_quantized, layer_precision
from edgeresnet.device.targets.presence import precisions_here, why_not_here
from edgeresnet.device.targets.registry import check_device_name, target_of
from edgeresnet.errors import InputError, MissingError
from edgeresnet.results.fastest import FastestRow, Judgement, SpeedDecision
from edgeresnet.results.intervals import RatioResults

if TYPE_CHECKING:
    from edgeresnet.device.measure.latency import Latency
    from edgeresnet.device.measure.ratio import Ratio
    from edgeresnet.settings.measuring import FastestOptions


def judge(latencies: Mapping[str, Latency], *, seed: int = 0) -> Judgement:
    """Say which precision is the fastest, by the intervals of the ratios and not by their values.

    Where INT8 has several kinds of floats around it, the one with the smallest median stands for
    it. It is faster only if it surely is than every float precision, each by its own interval.

    Args:
        latencies: of one network, by precision; one or more float and one or more INT8 ones, all
            timed in the same rounds.
        seed: of the bootstrap.
    """
    median = {name: latency.percentile_ms(50) for name, latency in latencies.items()}
    int8 = min(filter(is_quantized, median), key=lambda name: median[name])
    floats = [name for name in median if not is_quantized(name)]
    ratios = {name: speedup(latencies[name], latencies[int8], seed=seed) for name in floats}
    quickest = min(floats, key=lambda name: median[name])
    sure = [name for name in floats if (high := ratios[name].high) is not None and high < 1]
    decision: SpeedDecision = "undecided"
    fastest = None
    if all(ratio.low is not None and ratio.low > 1 for ratio in ratios.values()):
        decision, fastest = "faster", int8
    elif sure:
        decision, fastest = "slower", min(sure, key=lambda name: median[name])
    return Judgement(
        int8=int8,
        decision=decision,
        fastest=fastest,
        # Where speed does not tell them apart, the float network costs no accuracy.
        advised=fastest or quickest,
        precisions=[_row(name, one, ratios, fastest) for name, one in latencies.items()],
    )


def _row(
    name: str, latency: Latency, ratios: Mapping[str, Ratio], fastest: str | None
) -> FastestRow:
    ratio = ratios.get(name)
    told: RatioResults | None = None
    if ratio is not None:
        told = {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    return FastestRow(
        precision=name,
        p50_ms=latency.percentile_ms(50),
        p99_ms=latency.percentile_ms(99),
        runs=len(latency.samples_ms),
        int8_speedup=told,
        fastest=name == fastest,
    )


def contenders(target: str, device: str) -> tuple[str, ...]:
    """The precisions that are compared on a device of this machine, INT8 and float ones.

    Empty where it has not both.
    """
    here = precisions_here(target_of(target), device)
    # 16-bit activations are another network's.
    compared = tuple(p for p in here if not is_quantized(p) or layer_precision(p) == "int8")
    return compared if len({is_quantized(p) for p in compared}) == 2 else ()


def check_fastest(options: FastestOptions) -> None:
    """Refuse, before the work, a comparison of speeds that cannot be made here.

    Raises:
        InputError: target or device is not known, the device has no two precisions to compare, or
            threads are told and it has none.
        MissingError: the device is not here, or only emulated.
    """
    target = target_of(options.target)
    device = options.device or target.spec.default_device
    check_device_name(device)
    check_device_name(device, target)
    if (why := why_not_here(target, device, timed=True)) is not None:
        raise MissingError(
            f"--fastest times INT8 and float on {target.spec.name}'s {device}: {why}",
            _fix_of(target.available().fix, available=target.available().usable),
        )
    if not contenders(options.target, device):
        raise InputError(
            f"--fastest has nothing to compare: {target.spec.name}'s {device} computes in "
            f"{', '.join(precisions_here(target, device)) or 'no precision of the target'} alone",
            "leave it out, or give another --device or --target.",
        )
    if options.threads is not None and "threads" not in target.spec.run_options(device):
        raise InputError(
            f"--threads would have no effect: {target.spec.name}'s {device} has no CPU threads",
            "leave it out.",
        )


def _fix_of(fix: str | None, *, available: bool) -> str:
    elsewhere = (
        "leave --fastest out here, export both precisions, and compare them where the device is "
        "(edgeresnet compare FLOAT INT8 --on ssh://USER@HOST)."
    )
    return f"{fix}; or {elsewhere}" if fix and not available else elsewhere
