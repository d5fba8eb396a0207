"""How images are put into shards."""

from __future__ import annotations

from pydantic import Field

from edgeresnet.settings.base import settings


@settings
class ShardOptions:
    """How many images a shard has, and how many are written at once."""

    images_per_shard: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Images in each shard; the last one has what is left.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Shards that are written at once; left out: one for each processor.",
    )
