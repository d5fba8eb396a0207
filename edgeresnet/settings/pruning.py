"""How a network is pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edgeresnet.settings.base import MOST_IMAGES, fault, settings, with_conflicts
from edgeresnet.settings.measuring import DeviceName, Threads
from edgeresnet.settings.training import RECOVERY_DEFAULTS, Seed, TrainOptions, given_over

CriterionName = Literal["taylor", "l1", "l2", "bn_scale", "fpgm", "random"]
Pattern = Literal["2:4"]
SHARES = ("macs", "parameters", "latency")
BUDGETS = (*SHARES, "latency_ms", "pattern")
# Criteria that score single weights, not only channels.
OF_WEIGHTS = ("taylor", "l1")
# What is said of channels, or of the device that decides on their number.
OF_CHANNELS = (
    "step", "floor", "remove_blocks", "iterations", "compare_criteria", "target", "device",
)  # fmt: skip


@settings
class PruneOptions:
    """Settings of one pruning; exactly one of the first five is the budget."""

    macs: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Budget: share of the multiply-accumulates that stays, between 0 and 1.",
    )
    parameters: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Budget: share of the parameters that stays, normalization's included.",
    )
    latency: float | None = Field(
        default=None, gt=0, lt=1, description="Budget: share of the measured INT8 latency."
    )
    latency_ms: float | None = Field(
        default=None, gt=0, le=1e6, description="Budget: measured INT8 latency of one image in ms."
    )
    pattern: Pattern | None = Field(
        default=None,
        description="Budget: two of every four weights become zero, and no channel goes.",
    )
    target: str = Field(
        default="onnx",
        description="Target whose kernels decide on the width step and on latency.",
    )
    device: DeviceName = None
    threads: Threads = None
    criterion: CriterionName = Field(
        default="taylor",
        description=f"What a channel is worth; for a pattern {' or '.join(OF_WEIGHTS)}.",
    )
    images: int = Field(
        default=1024,
        ge=1,
        le=MOST_IMAGES,
        description="Images of the training data to score channels on.",
    )
    step: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Step of widths, which are its multiples; left out: what was measured for the "
        "target, or 16.",
    )
    floor: float = Field(
        default=0.125,
        ge=0,
        le=1,
        description="Share of a layer's channels that stays at least.",
    )
    remove_blocks: bool = Field(
        default=False, description="Whole blocks may go where that costs less."
    )
    iterations: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Prune and recover so many times, each a part of the way.",
    )
    compare_criteria: bool = Field(
        default=False,
        description="Show also what the other criteria would leave of top-1 before recovery.",
    )
    train: Annotated[TrainOptions, given_over(RECOVERY_DEFAULTS)] = Field(
        default=RECOVERY_DEFAULTS, description="Settings of the training after each iteration."
    )
    seed: Seed = 0

    @field_validator(*SHARES, mode="before")
    @classmethod
    def _leaves_something(cls, share: Any, info: ValidationInfo) -> Any:
        if isinstance(share, (int, float)) and not 0 < share < 1:
            left = "nothing to prune" if share >= 1 else "no network"
            raise fault(
                f"a budget of {share:g} of the present {info.field_name} leaves {left}",
                "give a share above 0 and below 1, such as 0.5.",
            )
        return share

    @model_validator(mode="wrap")
    @classmethod
    def _has_one_budget(cls, values: Any, build: Callable[[Any], PruneOptions]) -> PruneOptions:
        return with_conflicts(cls, values, build, _conflicts)

    def budget(self) -> dict[str, float | str]:
        """The budget by its name."""
        return {name: getattr(self, name) for name in BUDGETS if getattr(self, name) is not None}


def _conflicts(given: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    budget = [name for name in BUDGETS if given.get(name) is not None]
    if len(budget) != 1:
        yield fault(
            f"pruning needs one budget, and there is {' and '.join(budget) or 'none'}",
            f"give one of {', '.join(BUDGETS[:-1])} or {BUDGETS[-1]}.",
        )
    pattern, criterion = given.get("pattern"), given.get("criterion", OF_WEIGHTS[0])
    if pattern is not None and criterion not in OF_WEIGHTS:
        yield fault(
            f"criterion {criterion} scores channels, and {pattern} needs scores of single weights",
            f"give criterion {' or '.join(OF_WEIGHTS)}.",
        )
    if _learns_features(given.get("train")):
        yield fault(
            "distill_features is of quantization-aware training: pruning removes the channels "
            "that it compares",
            "leave it out; distill learns the answers.",
        )
    if idle := _idle(given):
        why = f"{pattern} removes no channel" if pattern else "no latency is measured"
        yield fault(f"{', '.join(idle)} would have no effect: {why}", "leave it out.")


def _learns_features(train: object) -> bool:
    if isinstance(train, Mapping):
        return bool(train.get("distill_features"))
    return isinstance(train, TrainOptions) and train.distill_features > 0


def _idle(given: Mapping[str, Any]) -> list[str]:
    """Keys with another value than their usual one that a budget has no use for."""
    keys: list[str] = []
    if given.get("pattern") is not None:
        keys += OF_CHANNELS
    if not (given.get("latency") or given.get("latency_ms")):
        # Target and device are asked for the step of widths then, and for nothing else.
        keys += ["threads", *(["target", "device"] if given.get("step") else [])]
    usual = {f.name: f.default for f in fields(PruneOptions)}
    return [
        key for key in dict.fromkeys(keys)
        if given.get(key) is not None and given[key] != getattr(usual[key], "default", usual[key])
    ]  # fmt: skip
