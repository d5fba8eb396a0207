"""Whether the times of all layers are those of a run, on bundles.

    python -m tests.benchmarks.layers_and_whole BUNDLE...

A machine may change its speed within minutes. So layers and whole runs take turns: in each round
half of the whole runs are before the layers and half behind them, and the whole is what the layers
are: the mean of the fastest runs, or of all where the runtime tells only means. It ends in exit 1
where the median of the rounds' ratios is more than 15 % away from 1.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeresnet.api.opening import open_model
from edgeresnet.device.machine.load import load_findings, read_load
from edgeresnet.device.measure.interleaving import timed_block
from edgeresnet.device.measure.latency import warm_up
from edgeresnet.device.measure.layers import RUNS, TimedLayers, calmest
from edgeresnet.device.measure.profile import timed_layers
from edgeresnet.device.targets.noise import noise
from edgeresnet.settings.measuring import RunOptions

MOST = 0.15
ROUNDS = 7


def main(paths: list[str]) -> int:
    """A line for each bundle."""
    return int(any(list(map(_is_away, map(Path, paths)))))


def _is_away(path: Path) -> bool:
    before = read_load()
    opener = partial(open_model, path)
    with opener() as opened:
        images = noise(opened.session, pixels=opened.embed_preprocess)

        def run() -> object:
            return opened.session.run(images)

        warm_up(run)
        layers = partial(timed_layers, opener, RunOptions(), path)
        found = [_round(run, layers) for _ in range(ROUNDS)]
    layers_ms, profiled_ms, whole_ms = (statistics.median(ms) for ms in zip(*found, strict=True))
    ratios = sorted(layers_ms / whole_ms for layers_ms, _, whole_ms in found)
    print(
        f"{path}: layers {layers_ms:.3f} ms of {profiled_ms:.3f} ms, without profiler "
        f"{whole_ms:.3f} ms: ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to "
        f"{ratios[-1]:.3f}) of {ROUNDS}"
    )
    for _, cause in load_findings(before, read_load()):
        print(f"  {cause}")
    return abs(statistics.median(ratios) - 1) > MOST


def _round(
    run: Callable[[], object], layers: Callable[[], TimedLayers]
) -> tuple[float, float, float]:
    """Milliseconds of all layers, of the same runs as a whole, and of runs without a profiler."""
    whole = timed_block(run, RUNS // 2)
    timed = layers()
    whole += timed_block(run, RUNS - RUNS // 2)
    return timed.sum_ms, timed.run_ms, calmest(timed.profiles, whole)[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
