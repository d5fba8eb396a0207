"""Many runs and many openings of a model leave memory, handles and threads as they were.

Slow: 10,000 runs and 50 openings on each runtime; of an emulated device, 500 runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions
from tests.api.held import Held
from tests.copies import REPOSITORY
from tests.small_checkpoints import make_checkpoint

RUNS, CYCLES, EMULATED_RUNS = 10_000, 50, 500
# What may come after the warm-up, and how long that lasts: allocators keep some pages, and the
# first openings fill caches of the runtime's own.
MOST_MIB_OF_RUNS, MOST_MIB_OF_CYCLES = 4.0, 16.0
WARM_UP = 0.2
NARROW = Widths(16, (16, 16, 16, 16), (((16,), (16,)),) * 4)


@dataclass(frozen=True)
class Growth:
    """From the end of the warm-up to the end, of each the most."""

    mib: float
    handles: int
    threads: int
    maps: int
    temporary: int


def growth(samples: Sequence[Held]) -> Growth:
    """How much more there is in the last quarter than at the end of the warm-up."""
    warm = samples[int(len(samples) * WARM_UP)]
    late = samples[-max(1, len(samples) // 4) :]
    return Growth(
        # Of memory the least: what is given back a moment later is no leak.
        min(s.rss_mib for s in late) - warm.rss_mib,
        max(s.handles for s in late) - warm.handles,
        max(s.threads for s in late) - warm.threads,
        max(s.maps for s in late) - warm.maps,
        max(s.temporary for s in late) - warm.temporary,
    )


def measured(path: Path, runs: int, cycles: int, own: Path) -> dict[str, list[Held]]:
    """What a process of its own holds; see `tests.api.held`."""
    own.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.api.held", str(path), str(runs), str(cycles)],
        capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=3000,
        env={**os.environ, "TMPDIR": str(own), "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: Mapping[str, list[dict[str, float]]] = json.loads(done.stdout.splitlines()[-1])
    return {name: [Held(**one) for one in some] for name, some in found.items()}  # type: ignore[arg-type]


def write_model(kind: str, folder: Path) -> Path:
    """A small INT8 network: the bundle of a target, or a checkpoint for PyTorch."""
    source: Checkpoint = make_checkpoint(size=8, widths=NARROW)
    options = QuantizeOptions(method="ptq", calibration_images=32)
    source, _ = quantize_checkpoint(source, options, context=TaskContext(data="digits", limit=64))
    if kind == "torch":
        save_checkpoint(source, folder / "small.pt")
        return folder / "small.pt"
    export_bundle(source, target=kind, precision="int8", out_dir=folder / "bundle")
    return folder / "bundle"


@pytest.fixture(params=["onnx", "openvino", "qnn", "torch"])
def kind(request: pytest.FixtureRequest) -> str:
    named = str(request.param)
    if named != "torch" and not (here := target_of(named).available()).usable:
        pytest.skip(f"{named} does not run here: {here.reason}")
    return named


def test_growth_sees_what_is_kept_and_not_what_comes_with_the_first_few() -> None:
    start = Held(1, 100.0, 5, 2, 1, 400, 0)
    warm = [replace(start, done=i, rss_mib=100.0 + min(i, 10)) for i in range(1, 51)]
    assert growth(warm) == Growth(0.0, 0, 0, 0, 0)
    kept = [
        replace(one, rss_mib=100.0 + one.done, handles=5 + one.done, threads=2 + one.done)
        for one in warm
    ]
    assert growth(kept) == Growth(28.0, 39, 39, 0, 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc tells what is held")
def test_memory_and_handles_are_flat_after_many_runs_and_openings(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path = write_model(kind, tmp_path)
    runs = EMULATED_RUNS if kind == "qnn" else RUNS
    found = measured(path, runs, CYCLES, tmp_path / "tmp")
    bounds = {"runs": MOST_MIB_OF_RUNS, "cycles": MOST_MIB_OF_CYCLES}
    for what, samples in found.items():
        grown = growth(samples)
        print(f"{kind}: {samples[-1].done} {what}: {grown}; in the end {samples[-1]}")
        print("  MiB:", *(f"{s.rss_mib:.1f}" for s in samples))
        record_property(f"{kind} {what}", str(grown))
    for what, samples in found.items():
        grown = growth(samples)
        assert grown.mib <= bounds[what], (what, grown)
        assert (grown.handles, grown.threads, grown.temporary) == (0, 0, 0), (what, grown)
        assert samples[-1].temporary == 0
