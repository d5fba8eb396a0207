"""What `edgeresnet shard` has written, in lines."""

from __future__ import annotations

from edgeresnet.results.made import ShardResults


def size_text(size: int) -> str:
    """A size as people say it, who have disks in decimal units."""
    return f"{size / 1e6:.3f} MB" if size < 1e9 else f"{size / 1e9:.3f} GB"


def shard_lines(result: ShardResults) -> list[str]:
    """A line for each part, and how the shards are read."""
    lines = [
        f"{part}: {one['images']} images in {one['shards']} shards, {size_text(one['bytes'])}"
        + (f"; {one['kept']} of them were there already, whole" if one["kept"] else "")
        for part, one in result["parts"].items()
    ]
    return [*lines, f"--data {result['data']} reads them"]
