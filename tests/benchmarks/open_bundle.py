"""How long it takes to open a bundle; ``python -m tests.benchmarks.open_bundle BUNDLE``.

With another checkout as a second argument, that one's code is timed by turns with this one's. What
imports take is left out, and the golden check is remembered, as it is on a device.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS, OPENINGS = 9, 10
OPENING = """
import sys, time
from edgeresnet.api.opening import open_model
for _ in range(2):
    with open_model(sys.argv[1]): pass
times = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    with open_model(sys.argv[1]): pass
    times.append(time.perf_counter() - start)
print(min(times))
"""


def opening_ms(checkout: Path, bundle: Path, cache: str) -> float:
    """Milliseconds, the least of several, in a process of its own with that checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": cache}
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(bundle), str(OPENINGS)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout) * 1e3


def main() -> None:
    bundle = Path(sys.argv[1])
    checkouts = [Path(__file__).parents[2], *map(Path, sys.argv[2:])]
    with tempfile.TemporaryDirectory() as cache:
        times = [[opening_ms(one, bundle, cache) for one in checkouts] for _ in range(ROUNDS)]
    for checkout, own in zip(checkouts, zip(*times, strict=True), strict=True):
        print(f"{checkout}: {statistics.median(own):.2f} ms ({min(own):.2f} to {max(own):.2f})")


if __name__ == "__main__":
    main()
