"""Several depths of one network, set beside each other: which, from which weights, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from edgeresnet.settings.base import fault, settings
from edgeresnet.settings.training import Arch

LONGEST_MINUTES = 60 * 24 * 365


def _told_once(archs: tuple[Arch, ...]) -> tuple[Arch, ...]:
    if len(set(archs)) < len(archs):
        raise fault("an architecture is named twice", "name each once.")
    return archs


@settings
class FrontSettings:
    """Depths to set beside each other; the rest of the recipe is the same for all."""

    archs: Annotated[tuple[Arch, ...], AfterValidator(_told_once)] = Field(
        min_length=2,
        max_length=5,
        description="Architectures, in the order in which they are made: the smallest first, where "
        "the time may not suffice for all.",
    )
    weights: Mapping[Arch, str] = Field(
        default_factory=dict,
        description="For each architecture the checkpoint to begin with; of those that are not "
        "here, model.weights, which may be torchvision:WEIGHTS.",
    )
    minutes: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_MINUTES,
        description="Stop making networks after so many minutes, in the middle of a training too, "
        "and compare those that are done; the same command goes on. Left out: make all.",
    )
