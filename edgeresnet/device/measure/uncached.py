"""Are answers computed from the input, or looked up? Slightly changed and permuted inputs tell.

A network's answer to an image lies among its answers to the image's neighbours: they are as far
from it as from each other. What was stored for the very image does not: the neighbours agree with
each other and not with it. What is found by the nearest known image does not move at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.settings.inputs import InputSpec

NEIGHBOURS = 6
# Grey levels of 255 by which the quarters of an image are made lighter or darker. What is smooth
# moves an answer more than noise of single pixels, which averages out over the image.
SHIFTS = (-4, -3, -2, 2, 3, 4)
# How far the stored image is from its neighbours, in their distances from each other. Where a
# network is as good as linear it is 0.7 (one change against the difference of two); on trained and
# on random networks of both runtimes 2.2 was the most that was seen, in float and in integers.
FARTHEST = 8.0
# Of the images whose answer may be the same, to the last bit, when quarters or pixels move.
MOST_UNMOVED = 0.5


@dataclass(frozen=True, eq=False)
class Answers:
    """What a session answers to known images and to others made of them.

    Attributes:
        known: (n, classes) logits of the images themselves.
        backwards: (n, classes) of the same images, run from the last to the first.
        neighbours: (k, n, classes) of images with lighter or darker quarters.
        shuffled: (n, classes) of images whose pixels are in another order.
    """

    known: NDArray[np.float32]
    backwards: NDArray[np.float32]
    neighbours: NDArray[np.float32]
    shuffled: NDArray[np.float32]


def neighbours_of(
    images: NDArray[np.uint8], count: int = NEIGHBOURS, *, seed: int = 0
) -> NDArray[np.uint8]:
    """(count, n, H, W, 3) uint8 images, each with its quarters a few grey levels off.

    Args:
        images: (n, H, W, 3) uint8.
        count: of each image.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    n, height, width, _ = images.shape
    levels = generator.choice(np.array(SHIFTS, np.int16), (count, n, 2, 2, 3))
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    shifts = levels[:, :, rows][:, :, :, columns]
    moved: NDArray[np.uint8] = np.clip(images + shifts, 0, 255).astype(np.uint8)
    return moved


def ask(
    session: Session,
    images: NDArray[np.uint8],
    spec: InputSpec,
    *,
    pixels: bool,
    seed: int = 0,
) -> Answers:
    """Run known images, their neighbours and their shuffled pixels.

    Args:
        session: the model.
        images: (n, H, W, 3) uint8.
        spec: how they become inputs.
        pixels: the session normalizes by itself and takes uint8.
        seed: of what is drawn.
    """
    last = channels_last(session.input_shape)

    def run(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        # One at a time where the model takes one: a batch of known images may itself be known.
        step = session.batch_sizes[0]
        parts = [
            run_padded(session, to_input(some[i : i + step], spec, raw=pixels, channels_last=last))
            for i in range(0, len(some), step)
        ]
        return np.concatenate(parts)

    n, height, width, _ = images.shape
    near = neighbours_of(images, seed=seed)
    order = np.random.default_rng(seed).permutation(height * width)
    shuffled = images.reshape(n, -1, 3)[:, order].reshape(images.shape)
    return Answers(
        run(images),
        run(images[::-1])[::-1],
        run(near.reshape(-1, height, width, 3)).reshape(len(near), n, -1),
        run(shuffled),
    )


def cache_faults(answers: Answers, bound: float) -> list[str]:
    """What says that answers are not computed from the input; none where nothing does.

    Args:
        answers: of one session.
        bound: how far rounding may move a logit.
    """
    known, near = answers.known, answers.neighbours
    faults = []
    away = float(np.abs(answers.backwards.astype(np.float64) - known).max())
    if not away <= bound:
        faults.append(
            f"the same images in another order are answered otherwise, by up to {away:.3g} "
            f"({bound:.3g} is rounding)"
        )
    unmoved = float((near == known).all(-1).mean())
    if unmoved > MOST_UNMOVED:
        faults.append(
            f"{unmoved:.0%} of the answers stay the same, to the last bit, when an image changes a "
            "little"
        )
    stayed = float((answers.shuffled == known).all(-1).mean())
    if stayed > MOST_UNMOVED:
        faults.append(f"{stayed:.0%} of the answers stay the same when the pixels change places")
    if stored := _stored(known, near, bound):
        faults.append(
            f"{len(stored)} of {len(known)} golden images (the first is {stored[0]}) are answered "
            "unlike their neighbours, which agree with each other"
        )
    return faults


def isolation(known: NDArray[np.float32], near: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) how far each image's answer is from its neighbours', in their distances.

    Medians of the root mean square over the classes; inf where the neighbours are all alike and
    the image is not.

    Args:
        known: (n, classes).
        near: (k, n, classes), two or more.
    """
    outside = np.median(_distance(near, known[None]), axis=0)
    pairs = np.triu_indices(len(near), 1)
    inside = np.median(_distance(near[pairs[0]], near[pairs[1]]), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = np.where(outside > 0, outside / inside, 0.0)
    return ratio


def _stored(known: NDArray[np.float32], near: NDArray[np.float32], bound: float) -> list[int]:
    """Which images were answered by what is stored for them."""
    moved = np.abs(near.astype(np.float64) - known).max(-1).min(0)
    return [int(i) for i in np.flatnonzero((isolation(known, near) > FARTHEST) & (moved > bound))]


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = np.sqrt(np.square(one.astype(np.float64) - other).mean(-1))
    return difference
