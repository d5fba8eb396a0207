"""The same piece of code with this checkout's edgeresnet and with another's, timed by turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parents[2]


def timed(
    code: str, arguments: Sequence[object], others: Sequence[str], *, rounds: int, cache: Path
) -> None:
    """Print the median, the least and the most of what a piece of code says that it took.

    Args:
        code: Python; prints a number of milliseconds.
        arguments: of it.
        others: folders of other checkouts.
        rounds: so often each, in processes of their own.
        cache: where caches lie.
    """
    checkouts = [HERE, *map(Path, others)]
    times = [[_once(code, arguments, one, cache) for one in checkouts] for _ in range(rounds)]
    for checkout, own in zip(checkouts, zip(*times, strict=True), strict=True):
        ratios = [a / b[0] for a, b in zip(own, times, strict=True)]
        print(
            f"{checkout}: {statistics.median(own):.2f} ms ({min(own):.2f} to {max(own):.2f}), "
            f"{statistics.median(ratios):.3f} times this one's"
        )


def _once(code: str, arguments: Sequence[object], checkout: Path, cache: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)
