"""What a dry run gives back: what a run would do, and what that takes."""

from __future__ import annotations

from typing_extensions import TypedDict


class PlannedStage(TypedDict):
    """One stage of a run.

    ``what``: in words. ``images`` that it reads; ``steps`` of training; None: it trains nothing.
    ``memory_bytes``: of the training, on the device that trains, with the images that are kept
    there; of each of several processes; None where nothing is trained.
    """

    stage: str
    what: str
    images: int
    steps: int | None
    memory_bytes: int | None


class PlanResults(TypedDict):
    """``run --dry-run``. ``elsewhere``: targets that are not measured here, and why."""

    schema: int
    recipe: str
    data: str
    train_images: int
    val_images: int
    classes: int | None
    image_size: int
    arch: str
    stages: list[PlannedStage]
    elsewhere: dict[str, str]
