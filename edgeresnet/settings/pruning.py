"""How a network is pruned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeresnet.settings.faults import SettingFaults
from edgeresnet.settings.training import RECOVERY_DEFAULTS, TrainOptions

CriterionName = Literal["taylor", "l1", "l2", "bn_scale", "fpgm", "random"]


Pattern = Literal["2:4"]


@dataclass(frozen=True)
class PruneOptions:
    """Settings of one pruning; exactly one of the first five is the budget.

    Attributes:
        macs: share of the multiply-accumulates that stays, in (0, 1).
        parameters: share of the parameters that stays.
        latency: share of the INT8 latency that stays, measured.
        latency_ms: INT8 latency of one image, measured.
        pattern: ``2:4``: no channel goes, but two of every four weights become zero.
        target: whose kernels decide on widths and latency.
        device: the hardware it runs on; None: the target's usual one.
        threads: of the target; None leaves the choice to it.
        criterion: what a channel is worth; for ``pattern`` taylor or l1.
        images: of the training data, that channels are scored on.
        step: every width is a multiple of it; None: what was measured for the target, or 16.
        floor: share of a layer's channels that stays at least.
        remove_blocks: let whole blocks go where that costs less.
        iterations: prune and recover so many times, each a part of the way.
        compare_criteria: also show what the other criteria would leave before recovery.
        train: recovery's own training settings, of each iteration.
        seed: of what is drawn for scoring.
    """

    macs: float | None = None
    parameters: float | None = None
    latency: float | None = None
    latency_ms: float | None = None
    pattern: Pattern | None = None
    target: str = "onnx"
    device: str | None = None
    threads: int | None = None
    criterion: CriterionName = "taylor"
    images: int = 1024
    step: int | None = None
    floor: float = 0.125
    remove_blocks: bool = False
    iterations: int = 1
    compare_criteria: bool = False
    train: TrainOptions = field(default=RECOVERY_DEFAULTS)
    seed: int = 0

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.one_of("criterion", self.criterion, CriterionName)
        for name in ("images", "iterations", "step", "threads"):
            faults.at_least(name, getattr(self, name), 1)
        faults.share("floor", self.floor)
        budget = self.budget()
        faults.unless(
            len(budget) == 1,
            f"pruning needs one budget, and there is {' and '.join(budget) or 'none'}",
            "give one of macs, parameters, latency, latency_ms or pattern.",
        )
        for name in ("macs", "parameters", "latency"):
            share = getattr(self, name)
            if share is not None:
                left = "nothing to prune" if share >= 1 else "no network"
                faults.unless(
                    0 < share < 1,
                    f"a budget of {share:g} of the present {name} leaves {left}",
                    "give a share above 0 and below 1, such as 0.5.",
                )
        if self.latency_ms is not None:
            cause = f"latency_ms {self.latency_ms:g} is not positive"
            faults.unless(self.latency_ms > 0, cause, "give latency_ms above 0.")
        if self.pattern is not None:
            faults.one_of("pattern", self.pattern, Pattern)
            faults.unless(
                self.criterion in ("taylor", "l1"),
                f"criterion {self.criterion} scores channels, and {self.pattern} needs scores of "
                "single weights",
                "give criterion taylor or l1.",
            )
        faults.raise_any()

    def budget(self) -> dict[str, float | str]:
        """The budget by its name."""
        names = ("macs", "parameters", "latency", "latency_ms", "pattern")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
