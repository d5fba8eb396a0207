"""Golden images through a session, at the batch sizes that a bundle is made for."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.logits import mean_distance
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.machine.environment import cpu_flags
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.protocol import LARGEST_BATCH
from edgeresnet.device.targets.registry import target_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.settings.export import BatchRange
    from edgeresnet.settings.inputs import InputSpec

    Run = Callable[[int, NDArray[np.int64]], None]

# Of images that are run together: as inputs they are four times as large.
MOST_BYTES = 32 << 20
# A largest batch that would take longer, by what the best one took, is left out.
MOST_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class Round:
    """Some golden images in one batch.

    Attributes:
        size: of the batch.
        places: (m,) which golden images, none twice.
        logits: (m, classes) float32.
    """

    size: int
    places: NDArray[np.int64]
    logits: NDArray[np.float32]

    def distance(self, golden: NDArray[np.float32]) -> float:
        """Root of the mean square of how far the answers are from the golden ones, in logits."""
        return mean_distance(self.logits, golden[self.places])


@dataclass(frozen=True, eq=False)
class GoldenRuns:
    """What a session answers to golden images.

    Attributes:
        logits: (n, classes) float32, the first answer to each image.
        rounds: all answers, those included.
    """

    logits: NDArray[np.float32]
    rounds: tuple[Round, ...]

    def with_round(self, done: Round) -> NDArray[np.float32]:
        """The first answers, with a round's in their places."""
        logits = self.logits.copy()
        logits[done.places] = done.logits
        return logits

    def part(self, cut: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> GoldenRuns:
        """The same runs, of what ``cut`` takes of each answer."""
        rounds = tuple(replace(one, logits=cut(one.logits)) for one in self.rounds)
        return GoldenRuns(cut(self.logits), rounds)

    def farthest(self, golden: NDArray[np.float32]) -> Round:
        """The round whose answers are farthest from ``golden``."""
        return max(self.rounds, key=lambda one: np.nan_to_num(one.distance(golden), nan=np.inf))


def kernels_here(target: str, device: str, session: Session) -> str:
    """Whose answers these are: runtime, version, device and the processor's instructions.

    Where all that is the same, the same kernels run, and rounding is no reason to answer
    differently.
    """
    version = target_of(target).available().version
    emulated = " (emulated)" if session.emulated else ""
    flags = " ".join(cpu_flags())
    return f"{target} {version} on {device}{emulated}, {platform.machine()} {flags}".strip()


def run_golden(
    session: Session,
    images: NDArray[np.uint8],
    spec: InputSpec,
    batch: BatchRange,
    *,
    pixels: bool,
) -> GoldenRuns:
    """Run every image, and some in each of the smallest, the best and the largest batch.

    In a batch of another size they stand in other places: what mixes up a batch's answers shows.

    Args:
        session: the model.
        images: (n, H, W, 3) uint8.
        spec: how they become inputs.
        batch: that the model is made for; where it stays open at the top, all images at once.
        pixels: the session normalizes by itself and takes uint8.
    """
    last = channels_last(session.input_shape)
    rounds: list[Round] = []

    def run(size: int, places: NDArray[np.int64]) -> None:
        inputs = to_input(images[places], spec, raw=pixels, channels_last=last)
        logits = run_padded(session, inputs)
        for start in range(0, len(places), len(images)):
            part = slice(start, start + len(images))
            rounds.append(Round(size, places[part], logits[part]))

    count = len(images)
    fits = max(1, MOST_BYTES // images[0].nbytes)
    if not batch.dynamic or batch.largest >= LARGEST_BATCH:
        step = min(fits, count, max(1, session.batch_sizes[1]))
        for start in range(0, count, step):
            run(step, np.arange(start, min(start + step, count)))
    else:
        _run_sizes(run, session, batch, count, fits)
    first = {int(p): one.logits[i] for one in reversed(rounds) for i, p in enumerate(one.places)}
    return GoldenRuns(np.stack([first[i] for i in range(count)]), tuple(rounds))


def _run_sizes(run: Run, session: Session, batch: BatchRange, count: int, fits: int) -> None:
    """Each image once, and each of the three batch sizes."""
    lowest, highest = session.batch_sizes
    smallest, best, largest = (
        max(lowest, min(size, highest, fits))
        for size in (batch.smallest, batch.best, batch.largest)
    )
    start = time.perf_counter()
    run(best, np.arange(best) % count)
    seconds = (time.perf_counter() - start) / best * largest
    covered = best
    if largest != best and seconds <= MOST_SECONDS:
        # Behind where the best batch ended, so that an image stands in another place here.
        run(largest, (best + np.arange(largest)) % count)
        covered += largest
    while covered < count:
        run(best, (covered + np.arange(best)) % count)
        covered += best
    if smallest != best:
        # The last first; of single images two.
        run(smallest, -np.arange(1, smallest + 1) % count)
        run(smallest, -np.arange(2, smallest + 2) % count)
