"""What measuring and comparing give back: the JSON contract as types.

Times are in milliseconds, shares and top-1 in [0, 1]. A key may be absent where its type says so
(``NotRequired``); None is a figure that does not exist there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.results.fastest import FastestOfTarget
from edgeresnet.results.front import FrontResults
from edgeresnet.results.intervals import IntervalResults, RatioResults
from edgeresnet.results.layers import LayerRow, LossRow, ShareOfPeak
from edgeresnet.results.stability import EnergyResults, OfflineResults, Stability

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Decision = Literal["kept", "missed", "undecided"]


class Budget(TypedDict):
    """One budget, decided: for several candidates by the worst of them.

    A budget of accuracy was decided after ``images`` of the ``looks`` that were declared.
    ``images_needed`` is of an undecided one: how many would decide it; None: no number would. So is
    ``runs_needed`` of p99, which was left undecided by ``runs`` timed ones.
    """

    name: str
    limit: float
    value: float
    low: float | None
    high: float | None
    met: bool
    decision: Decision
    decided_by: NotRequired[Literal["interval", "value"]]
    candidate: str
    worst_class: NotRequired[str]
    images: NotRequired[int]
    looks: NotRequired[list[int]]
    images_needed: NotRequired[int | None]
    runs: NotRequired[int]
    runs_needed: NotRequired[int | None]


class Timing(TypedDict):
    """How long the runs of a model took, and what of it its runtime did not tell."""

    batch: int
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p50_interval_ms: NotRequired[list[float] | None]
    p90_interval_ms: NotRequired[list[float] | None]
    p95_interval_ms: NotRequired[list[float] | None]
    p99_interval_ms: NotRequired[list[float] | None]
    effective_runs: NotRequired[dict[str, float]]
    interval_note: NotRequired[str | None]
    mean_ms: float | None
    std_ms: float | None
    throughput_ips: float | None
    warmup_runs: NotRequired[int]
    cold_p50_ms: NotRequired[float | None]
    peak_memory_mib: NotRequired[float | None]
    block_runs: NotRequired[int]
    samples_ms: NotRequired[list[float]]
    load_ms: float | None
    first_ms: float | None


class ProfileRow(Timing):
    """``profile`` at one batch size; the phases of a run on a GPU where the runtime tells them."""

    target: str
    device: str
    precision: str
    threads: int | None
    n: int | None
    environment: dict[str, Any]
    board: dict[str, Any]
    warnings: list[str]
    stability: NotRequired[Stability]
    model_sha256: NotRequired[str | None]
    options: NotRequired[dict[str, Any]]
    placement: NotRequired[list[dict[str, Any]]]
    h2d_ms: NotRequired[float | None]
    compute_ms: NotRequired[float | None]
    d2h_ms: NotRequired[float | None]
    enqueue_ms: NotRequired[float | None]
    cuda_graph: NotRequired[bool]
    spin_wait: NotRequired[bool]
    preset: NotRequired[str]
    label: NotRequired[str]
    concurrency: NotRequired[int]
    concurrency_kind: NotRequired[Literal["sync", "async"]]
    after_idle_ms: NotRequired[float]
    offline: NotRequired[OfflineResults]
    energy: NotRequired[EnergyResults]
    energy_mj: NotRequired[float]
    images_per_joule: NotRequired[float | None]
    energy_with_idle_mj: NotRequired[float]
    power_w: NotRequired[float]
    idle_power_w: NotRequired[float]
    power_sensor: NotRequired[str]
    power_samples: NotRequired[int]


class ProfileResults(ProfileRow):
    """``profile``: the row of the first batch size, and all rows.

    ``layers_ms`` is the sum of all layers, ``layers_run_ms`` the time of the same runs as a whole.
    """

    schema: int
    batches: list[ProfileRow]
    layers: NotRequired[list[LayerRow]]
    layers_ms: NotRequired[float]
    layers_run_ms: NotRequired[float]
    of_peak: NotRequired[ShareOfPeak]
    why_slow: NotRequired[list[LossRow]]


ClassChange = TypedDict(
    "ClassChange", {"class": str, "images": int, "lost": int, "gained": int, "p": float}
)


class CompareRow(TypedDict):
    """One model of ``compare``. On an emulator times are None, or there is none of them.

    On images without labels all of top-1 is None, and so is, of the baseline, what changed against
    it. ``divergence`` is of probabilities from the baseline's, in nats; ``mcnemar_p`` and the ``p``
    of ``changed_classes`` are of the exact test, these corrected for the number of classes (Holm).
    Results of older versions have none of these. Where ``answers`` are embeddings, top-1 and
    agreement are of nearest neighbours, and ``cosine`` has ``mean`` and ``smallest`` of the
    embeddings with the baseline's. In a run's results ``features`` has, of each output beside the
    logits, what the bundle's proof tells of it: ``bound``, ``largest_difference`` and
    ``share_outside``.
    """

    name: str
    target: str
    device: str
    precision: str
    answers: str
    n: int
    top1: float | None
    top5: float | None
    top1_interval: Pair | None
    top1_difference: IntervalResults | None
    calibration_error: NotRequired[float | None]
    lost: NotRequired[int | None]
    gained: NotRequired[int | None]
    mcnemar_p: NotRequired[float | None]
    smallest_drop: NotRequired[float | None]
    change_text: NotRequired[str | None]
    changed_classes: NotRequired[list[ClassChange] | None]
    agreement: float
    agreement_interval: Pair
    divergence: NotRequired[float | None]
    cosine: NotRequired[dict[str, float]]
    features: NotRequired[dict[str, dict[str, float]]]
    runs: int | None
    batch: NotRequired[int]
    p50_ms: float | None
    p90_ms: NotRequired[float]
    p95_ms: NotRequired[float]
    p99_ms: float | None
    p50_interval_ms: NotRequired[Pair | None]
    p90_interval_ms: NotRequired[Pair | None]
    p95_interval_ms: NotRequired[Pair | None]
    p99_interval_ms: NotRequired[Pair | None]
    effective_runs: NotRequired[dict[str, float]]
    interval_note: NotRequired[str | None]
    block_runs: NotRequired[int]
    samples_ms: NotRequired[list[float]]
    stability: NotRequired[Stability]
    model_sha256: NotRequired[str | None]
    options: NotRequired[dict[str, Any]]
    warnings: NotRequired[list[str]]
    mean_ms: NotRequired[float]
    std_ms: NotRequired[float]
    throughput_ips: NotRequired[float]
    warmup_runs: NotRequired[int]
    cold_p50_ms: float | None
    peak_memory_mib: NotRequired[float | None]
    load_ms: float | None
    first_ms: float | None
    speedup: RatioResults | None
    speedup_note: NotRequired[str | None]
    speedup_against: str
    layers: NotRequired[list[LayerRow]]
    fastest: NotRequired[bool]
    emulated: bool
    preprocess_ms: float


class RungResults(TypedDict):
    """One rung of a quantization; each tells more of itself. Top-1 is None without labels."""

    method: str
    top1_int8: NotRequired[float | None]
    drop: NotRequired[float | None]
    drop_interval: NotRequired[Pair | None]
    agreement: NotRequired[float | None]
    images: NotRequired[int]
    seconds: NotRequired[float]
    float_layers: NotRequired[list[str]]
    sensitivities: NotRequired[dict[str, float]]
    doubts: NotRequired[list[str]]


class ChangedImage(TypedDict):
    """An image that a candidate answers otherwise than the baseline; classes by name."""

    image: str
    index: int
    label: str | None
    answers: dict[str, str]


class CompareResults(TypedDict):
    """``compare``; a run's ``results.json`` has the last four keys too.

    ``n`` images were answered of those ``images_available``: as many as decided the budgets.
    ``changed_images`` has at most 48.
    ``fastest`` has for each target what a recipe's ``compare.fastest`` asks for, ``front`` the
    depths that a recipe with ``front`` sets beside each other.
    """

    schema: int
    baseline: str | None
    rows: list[CompareRow]
    agreements: NotRequired[list[list[float]]]
    changed_images: NotRequired[list[ChangedImage]]
    budgets: list[Budget]
    verdict: str
    verdict_text: str
    strict: bool
    data: str
    data_sha256: NotRequired[str]
    n: int
    images_available: NotRequired[int]
    conversions: NotRequired[dict[str, int]]
    doubts: NotRequired[list[str]]
    rounds: int
    batch: int
    note: str | None
    environment: dict[str, Any]
    board: NotRequired[dict[str, Any]]
    recipe: NotRequired[str]
    rungs: NotRequired[list[RungResults]]
    fastest: NotRequired[dict[str, FastestOfTarget]]
    front: NotRequired[FrontResults]
    unmeasured: NotRequired[list[str]]
    device_commands: NotRequired[list[str]]


def figure_text(budget: Budget) -> str:
    """The value with its interval, as ``0.0028 (-0.0049 to 0.0105)``."""
    value = f"{budget['value']:.3g}"
    if budget["low"] is None or budget["high"] is None:
        return value
    return f"{value} ({budget['low']:.3g} to {budget['high']:.3g})"


def decided_text(budget: Budget) -> str:
    """On how many images a budget of accuracy was decided, or would be; empty where all were.

    As ``decided on 2,000 of 10,000 images``, ``about 14,000 images would decide it``.
    """
    images, available = budget.get("images"), max(budget.get("looks", []), default=0)
    if budget["decision"] != "undecided":
        early = images is not None and images < available
        return f"decided on {images:,} of {available:,} images" if early else ""
    if "runs_needed" in budget:
        runs = budget["runs_needed"]
        if runs is None:
            return "no number of timed runs would decide it at these times"
        return f"{budget['runs']:,} timed runs do not decide it; about {runs:,} would"
    if "images_needed" not in budget:
        return ""
    needed = budget["images_needed"]
    if needed is None:
        return "no number of images would decide it at these rates"
    return f"about {needed:,} images would decide it"
