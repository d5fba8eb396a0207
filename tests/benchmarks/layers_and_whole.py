"""Whether the times of all layers are those of a run: on bundles, on a machine that does no more.

    python -m tests.benchmarks.layers_and_whole BUNDLE...

It ends in exit 1 where the layers of one are more than 15 % away from its median without a
profiler.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeresnet.api.profile import profile

MOST = 0.15


def main(paths: list[str]) -> int:
    """A line for each bundle."""
    failed = False
    for path in paths:
        result = profile(path, layers=True)
        sum_ms, run_ms, p50_ms = result["layers_ms"], result["layers_run_ms"], result["p50_ms"]
        assert p50_ms is not None
        away = sum_ms / p50_ms - 1
        failed |= abs(away) > MOST
        print(
            f"{Path(path).name}: layers {sum_ms:.3f} ms of {run_ms:.3f} ms, median without "
            f"profiler {p50_ms:.3f} ms ({100 * away:+.1f} %); {result['of_peak']['text']}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
