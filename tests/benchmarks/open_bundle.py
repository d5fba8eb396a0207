"""How long it takes to open a bundle; ``python -m tests.benchmarks.open_bundle BUNDLE``.

With another checkout as a second argument, that one's code is timed by turns with this one's. What
imports take is left out, and the golden check is remembered, as it is on a device.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.by_turns import timed

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
print(min(times) * 1e3)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        bundle, *others = sys.argv[1:]
        timed(OPENING, [bundle, OPENINGS], others, rounds=ROUNDS, cache=Path(cache))


if __name__ == "__main__":
    main()
