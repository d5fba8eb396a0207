"""What training in one process pays for the parts that several share: nothing that can be told.

Run: python -m tests.benchmarks.one_process CHECKOUT [ROUNDS], with a checkout of a commit before
there were several (6197196), or of any other. Trainings of a narrow ResNet-18 on digits, where
Python weighs most, by turns in two processes, of which each has one checkout's code: the
processor's time, because others share the machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.settings.inputs import InputSpec
from tests.benchmarks.by_turns import HERE

ROUNDS, EPOCHS, LEVELS = 9, 8, (8, 8, 8, 8)
TRAINING = """
import sys, time
import torch
from edgeresnet.api.train import train
from edgeresnet.progress import TaskContext
from edgeresnet.settings.training import ModelSettings, TrainOptions

torch.set_num_threads(1)
for line in sys.stdin:
    options = TrainOptions(epochs=int(line), batch_size=32, lr=0.02, augment="shift", workers=0)
    context = TaskContext(data="digits", limit=640)
    start = time.process_time()
    train(sys.argv[2], ModelSettings(weights=sys.argv[1]), options, context=context)
    print((time.process_time() - start) * 1e3, flush=True)
"""


def write_network(path: Path) -> None:
    """A random ResNet-18 for images of 8 px."""
    torch.manual_seed(0)
    widths = Widths(LEVELS[0], LEVELS, tuple(((width,),) * 2 for width in LEVELS))
    weights = dict(build_resnet("resnet18", 10, "small", widths).state_dict())
    names = tuple(str(label) for label in range(10))
    save_checkpoint(Checkpoint("resnet18", "small", widths, names, InputSpec(8), weights), path)


class Trainer:
    """A process with the code of a checkout that trains when it is told to."""

    def __init__(self, checkout: Path, place: Path) -> None:
        self.checkout = checkout
        self._process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, place / "network.pt", place / f"{id(self)}.pt"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(place)},
        )  # fmt: skip

    def training(self, epochs: int = EPOCHS) -> float:
        """The processor's time of a whole training, in ms.

        Of so many epochs that what is around them weighs little: the difference of a short and a
        long one has the noise of both.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def main() -> None:
    checkout, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        write_network(Path(name, "network.pt"))
        trainers = [Trainer(one, Path(name)) for one in (HERE, Path(checkout))]
        for trainer in trainers:
            trainer.training(2)
        rounds = []
        for number in range(int(rest[0]) if rest else ROUNDS):
            turn = trainers[:: -1 if number % 2 else 1]
            taken = {trainer.checkout: trainer.training() for trainer in turn}
            rounds.append([taken[trainer.checkout] for trainer in trainers])
        for trainer in trainers:
            trainer.close()
    print(f"{EPOCHS} epochs of 20 steps, {len(rounds)} rounds; load {os.getloadavg()[0]:.1f}")
    for trainer, own in zip(trainers, zip(*rounds, strict=True), strict=True):
        spread = f"{min(own):.0f} to {max(own):.0f}"
        print(f"{trainer.checkout}: {statistics.median(own):.0f} ms ({spread})")
    ratios = sorted(here / other for here, other in rounds)
    print(
        f"this one takes {statistics.median(ratios):.3f} times the other's "
        f"({ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}, quartiles)"
    )


if __name__ == "__main__":
    main()
