"""The latency of a model in a process of its own, as the device will have it.

A process that has trained or pruned before times a small network up to a tenth slower: its heap,
its threads and its share of the caches are not those of one that only runs the network.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeresnet.errors import MissingError

MIN_SECONDS = 1.0


def fresh_p50_ms(path: Path, target: str, device: str, threads: int | None = None) -> float:
    """Median milliseconds of one image of noise through a model, loaded by a new Python.

    Args:
        path: what the target loads.
        target: name.
        device: of the target.
        threads: None leaves the choice to the runtime.

    Raises:
        MissingError: the new process failed; tells its last line.
    """
    arguments = [str(path), target, device, str(threads or 0)]
    done = subprocess.run(
        [sys.executable, "-m", "edgeresnet.fresh", *arguments],
        capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        told = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingError(
            f"measuring on {target} {device} in a process of its own failed: {told[-1]}",
            "see that the target's runtime loads there (edgeresnet devices).",
        )
    # Runtimes may greet on stdout before.
    return float(done.stdout.splitlines()[-1])


def main(path: str, target: str, device: str, threads: str) -> None:
    """Load, measure, print the milliseconds."""
    from edgeresnet.latency import measure, noise
    from edgeresnet.targets import RunOptions, target_of

    options = RunOptions(threads=int(threads) or None, precision="fp32")
    with target_of(target).load(Path(path), device, options) as session:
        latency = measure(session, noise(session), min_seconds=MIN_SECONDS)
    print(latency.percentile_ms(50))


if __name__ == "__main__":
    main(*sys.argv[1:])
