"""What busy neighbours cost training, by the way in which OpenMP's threads wait for each other.

The same short training runs alone, beside one and beside two processes that take all the time they
get: as it is, with the count of spins that GNU's OpenMP takes by itself, with a small one, and with
passive waiting.

Run: python -m tests.benchmarks.shared_machine [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from edgeresnet.device.machine.cpu import cpu_quota, default_threads
from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.device.machine.process_environment import GNU_SPINNING, POLICY, SPINNING

NEIGHBOURS = (0, 1, 2)
# Whoever ends this process ends its children: they look whether their parent is still there.
BUSY = f"""
import os
while os.getppid() == {os.getpid()}:
    for _ in range(1_000_000):
        pass
"""
TRAINING = """
import time
from edgeresnet.device.data.dataset import InputSpec, open_dataset
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.settings.training import TrainOptions
from edgeresnet.host.training.fit import fit
train_set, val_set = (open_dataset("digits", split, limit=640) for split in ("train", "val"))
model = build_resnet("resnet18", 10, "small")
options = TrainOptions(epochs=1, batch_size=64, lr=0.05, augment="shift")
begun = time.perf_counter()
fit(model, train_set, val_set, InputSpec(8), options, progress=False)
print(time.perf_counter() - begun)
"""
# What each process's environment says; GNU's own count is that of its source, libgomp/env.c.
VARIANTS: dict[str, dict[str, str]] = {
    "runtime's own": {GNU_SPINNING: "300000"},
    "ours": {},
    "1000 spins": {GNU_SPINNING: "1000"},
    "passive": {POLICY: "PASSIVE"},
}
LIMIT_S = 600.0


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(variant: str) -> float:
    """Of one training in a process of its own, start and imports left out."""
    ours = (POLICY, GNU_SPINNING, *SPINNING)
    settings = {k: v for k, v in os.environ.items() if k not in ours} | VARIANTS[variant]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING],
        capture_output=True, text=True, check=True, timeout=LIMIT_S, env=settings,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def main(rounds: int) -> None:
    """All cases take turns within a round, so that a drifting machine cancels out."""
    print(f"{cpu_name()}, {default_threads()} threads, CPU quota {cpu_quota() or 'none'}")
    samples: dict[tuple[int, str], list[float]] = {
        case: [] for case in product(NEIGHBOURS, VARIANTS)
    }
    for _ in range(rounds):
        for count in NEIGHBOURS:
            with neighbours(count):
                for variant in VARIANTS:
                    samples[count, variant].append(seconds(variant))
    medians = {case: statistics.median(times) for case, times in samples.items()}
    idle = medians[0, "runtime's own"]
    for (count, variant), median in medians.items():
        listed = " ".join(f"{time:.2f}" for time in samples[count, variant])
        print(
            f"{count} busy  {variant:<13}  {median:6.2f} s  {median / idle:5.2f}x alone with the "
            f"runtime's own  ({listed})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
