"""Looks at the images of a budget, and what a look shows: as few images as it takes.

The images come in a random order, and are looked at after numbers that are declared beforehand.
The interval of each look errs with the share of 5 % that is spent there; what is spent until a
share t of the images is seen is 5 % times t squared (Kim and DeMets, 1987): early looks are strict,
but not as those of O'Brien and Fleming (1979), by which clear cases would need more than a fifth of
the images. The shares are added up (Bonferroni), which is valid whatever the looks have in common,
and makes the intervals a little wider than need be. So all intervals of a budget hold together with
95 % confidence, and whoever stops at any of them may trust it.

All this is about the population that the images were drawn from, not about these images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeresnet.device.measure.statistics import (
    Interval,
    paired_bounds,
    paired_interval,
    wilson,
    z_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05
# Each look sees so many times the images of the one before: the last but one but one is a fifth.
GROWTH = 5**0.5
# Fewer images decide nothing sensible: not one error in 400 leaves a loss of 4 % possible.
FEWEST = 400


@dataclass(frozen=True)
class Look:
    """One look.

    Attributes:
        images: seen by then.
        alpha: how often its interval may err.
    """

    images: int
    alpha: float

    @property
    def z(self) -> float:
        """Half of its interval in standard errors."""
        return z_of(self.alpha)


def looks(n: int, *, whole: bool = False) -> tuple[Look, ...]:
    """The looks at ``n`` images, the last at all of them.

    Args:
        n: images that there are.
        whole: look once, at the end: the plain 95 % interval.
    """
    counts = [n]
    while not whole and (fewer := round(n / GROWTH ** len(counts))) >= FEWEST:
        counts.insert(0, fewer)
    spent = [ALPHA * (count / n) ** 2 for count in counts]
    return tuple(
        Look(count, now - before)
        for count, now, before in zip(counts, spent, [0.0, *spent[:-1]], strict=True)
    )


def order(n: int, seed: int) -> NDArray[np.int64]:
    """(n,) indices of the images in random order, the same on every machine."""
    return np.random.Generator(np.random.PCG64(seed)).permutation(n)


class Evidence(Protocol):
    """What images show of a figure that a budget limits."""

    @property
    def n(self) -> float:
        """Images seen."""
        ...

    def interval(self, alpha: float) -> Interval:
        """The figure, and an interval that errs with probability ``alpha``."""
        ...

    def on(self, n: float) -> Evidence:
        """The same rates on another number of images."""
        ...


@dataclass(frozen=True)
class Share:
    """How many of ``n`` images something holds for."""

    hits: float
    n: float

    def interval(self, alpha: float) -> Interval:
        """The share, with its score interval."""
        return Interval(self.hits / self.n, *wilson(self.hits, self.n, z_of(alpha)))

    def on(self, n: float) -> Share:
        """The same share of ``n`` images."""
        return Share(self.hits * n / self.n, n)


@dataclass(frozen=True)
class Drop:
    """Top-1 that a candidate loses: images that only the baseline has right, and only it."""

    lost: float
    gained: float
    n: float

    @classmethod
    def of(cls, baseline: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> Drop:
        """Of (n,) whether each answer was right."""
        lost, gained = (baseline & ~candidate).sum(), (candidate & ~baseline).sum()
        return cls(int(lost), int(gained), len(baseline))

    @property
    def value(self) -> float:
        """The drop of these images; 0 of none."""
        return (self.lost - self.gained) / self.n if self.n else 0.0

    def interval(self, alpha: float) -> Interval:
        """The drop, with the score interval of a paired difference."""
        return paired_interval(self.lost, self.gained, self.n, z_of(alpha))

    def on(self, n: float) -> Drop:
        """The same rates on ``n`` images."""
        times = n / self.n
        return Drop(self.lost * times, self.gained * times, n)


@dataclass(frozen=True)
class WorstDrop:
    """The drop of that class which loses most.

    The worst class loses less than a limit if every class does, so its upper end is the largest of
    the classes' own, and needs no correction (intersection-union test, Berger, 1982). It loses
    more if any class does, so its lower end is the largest of lower ends that hold for all classes
    together: by Bonferroni, which for the largest is Holm's correction too.

    Attributes:
        classes: the drop of each class that has images.
    """

    classes: Mapping[str, Drop]

    @classmethod
    def of(
        cls,
        baseline: NDArray[np.bool_],
        candidate: NDArray[np.bool_],
        labels: NDArray[np.int64],
        names: Mapping[int, str],
    ) -> WorstDrop:
        """Of (n,) whether each answer was right.

        Args:
            baseline: the reference's answers.
            candidate: the answers in question.
            labels: (n,) the class of each image.
            names: of the classes to look at; of one none of whose images was seen nothing is known.
        """
        return cls(
            {
                name: Drop.of(baseline[labels == index], candidate[labels == index])
                for index, name in names.items()
            }
        )

    @property
    def n(self) -> float:
        """Images seen, of all classes."""
        return sum(drop.n for drop in self.classes.values())

    @property
    def worst(self) -> str:
        """The class that lost most of the images seen."""
        return max(self.classes, key=lambda name: self.classes[name].value)

    def interval(self, alpha: float) -> Interval:
        """The drop of the worst class, with an interval that is right whichever class it is."""
        drops = self.classes.values()
        lost, gained, n = (
            np.array([getattr(drop, key) for drop in drops]) for key in ("lost", "gained", "n")
        )
        _, high = paired_bounds(lost, gained, n, z_of(alpha))
        low, _ = paired_bounds(lost, gained, n, z_of(alpha / len(drops)))
        value = max(drop.value for drop in drops)
        return Interval(value, float(low.max()), max(value, float(high.max())))

    def on(self, n: float) -> WorstDrop:
        """The same rates in each class, of ``n`` images together."""
        times = n / self.n
        return WorstDrop({name: drop.on(drop.n * times) for name, drop in self.classes.items()})


def labels_present(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[int, str]:
    """The classes that images show, by label."""
    return {int(index): classes[index] for index in np.unique(labels)}
