"""How what nobody wrote down is found out."""

from __future__ import annotations

from pydantic import Field

from edgeresnet.settings.base import MOST_SEED, RecordHost, settings


@settings
class AdoptOptions:
    """How `edgeresnet adopt` looks, and when it is content."""

    strict: bool = Field(
        default=False,
        description="Exit 1 if the images leave anything undecided, and not only if nothing is "
        "above chance.",
    )
    record_host: RecordHost = False
    seed: int = Field(
        default=0, ge=0, le=MOST_SEED, description="Draws the images, and their order."
    )
