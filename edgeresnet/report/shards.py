"""What `edgeresnet shard` has written, in lines."""

from __future__ import annotations

from edgeresnet.results.made import ShardResults

GB = 1e9


def shard_lines(result: ShardResults) -> list[str]:
    """A line for each part, and how the shards are read."""
    lines = [
        f"{part}: {one['images']} images in {one['shards']} shards, {one['bytes'] / GB:.3f} GB"
        + (f"; {one['kept']} of them were there already, whole" if one["kept"] else "")
        for part, one in result["parts"].items()
    ]
    return [*lines, f"--data {result['output']} reads them"]
