"""Which candidate a network was trained as, by its answers on labelled images.

First what turns answers into chance where it is wrong, in all combinations and on few images, the
cheapest first, until one answers well. Of these the better third goes on to twice as many images
(successive halving; Jamieson and Talwalkar, 2016). From the best the rest is found field by field:
each option is compared to the best one on the same images, and dropped as soon as it is clearly
worse.
"""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.host.adoption.evidence import Evidence
from edgeresnet.host.adoption.space import FIELDS, Candidate, Space
from edgeresnet.progress import OnStep

FEW_LEFT = 3
# Of shapes that are as likely: all images take their time.
MOST_LEFT = 8
MOST_ROUNDS = 6


class Search:
    """Looks for the best candidate.

    Args:
        evidence: says which candidate is better; its order becomes that of the best one's classes.
        space: of the candidates.
        on_step: told what is being looked for.
    """

    def __init__(self, evidence: Evidence, space: Space, on_step: OnStep) -> None:
        self._evidence, self._space, self._on_step = evidence, space, on_step

    def best(self) -> Candidate:
        """The likeliest candidate; `order` is then that of its classes."""
        candidate = self._best_of_far()
        for _ in range(MOST_ROUNDS):
            self._evidence.order = self._evidence.best_order(candidate)
            before = candidate
            for name in FIELDS:
                better = self._best_of(self._space.near(candidate, name))
                if better != candidate:
                    self._on_step(f"{name.replace('_', ' ')}: {getattr(better, name)}")
                candidate = better
            # What one step does not better, several at once may.
            if candidate == before:
                candidate = self._best_of([*self._space.like(candidate), candidate])
            if candidate == before:
                candidate = self._likelier_shape(candidate)
            if candidate == before:
                break
        return candidate

    def _likelier_shape(self, candidate: Candidate) -> Candidate:
        """Another stem, size and crop where the labels are clearly likelier under it.

        Together they make up for each other: a smaller crop shows things as large as a larger size
        does, and a stem that reduces less as one that reduces more at twice the size. Such two
        networks answer so alike that top-1 does not tell them apart, and how sure they are does.
        """
        evidence = self._evidence
        shape = self._shapes(candidate)[0]
        return shape if evidence.likelier(shape, candidate) else candidate

    def _shapes(self, candidate: Candidate) -> list[Candidate]:
        """Those that may be the likeliest, the best first.

        Not by halving: many are as likely, of which luck on few images would choose.
        """
        total, n = len(self._evidence.trials), self._evidence.looks()[0]
        left = self._space.shapes(candidate)
        while True:
            left = self._evidence.likeliest(left, n, candidate)
            if n == total:
                return left
            n = min(2 * n, total)
            left = left[:MOST_LEFT] if 2 * n >= total else left

    def rivals(self, taken: Candidate) -> list[Candidate]:
        """The likeliest that differ from what was taken in more than one of stem, size and crop."""
        near = {taken, *(c for name in FIELDS for c in self._space.near(taken, name))}
        return [c for c in self._shapes(taken) if c not in near]

    def settle(self, best: Candidate) -> Candidate:
        """The convention wherever the images do not speak against it.

        Each field by itself may be undecided, and all of them together not: then the one that
        costs most stays as it was found.
        """
        first = {name: self._undecided(name, best)[0] for name in FIELDS}
        fields = {n: getattr(c, n) for n, c in first.items() if getattr(c, n) != getattr(best, n)}
        while fields:
            settled = self._space.named(replace(best, **fields))
            if not self._evidence.worse(settled, best, len(self._evidence.trials)):
                return settled
            del fields[min(fields, key=lambda name: self._evidence.score(first[name]))]
        return best

    def _undecided(self, name: str, best: Candidate) -> list[Candidate]:
        total = len(self._evidence.trials)
        return [
            c
            for c in self._left(self._space.near(best, name), best)
            if not self._evidence.worse(c, best, total)
        ]

    def _best_of_far(self) -> Candidate:
        n, tried = self._evidence.first_images(), list[Candidate]()
        for group in self._space.far():
            tried += group
            if any(self._evidence.answers_well(candidate, n) for candidate in group):
                break
        self._on_step(f"{len(tried)} ways of training tried on {n} images")
        return self._by_halving(tried, n)[0]

    def _by_halving(self, left: list[Candidate], n: int) -> list[Candidate]:
        """The few likeliest, the best first, as far as so many images tell."""
        while True:
            left = sorted(left, key=lambda c: self._evidence.likelihood(c, n), reverse=True)
            if n == len(self._evidence.trials) or len(left) <= FEW_LEFT:
                return left[:FEW_LEFT]
            left = left[: max(len(left) // 3, FEW_LEFT)]
            n = min(2 * n, len(self._evidence.trials))

    def _best_of(self, options: list[Candidate]) -> Candidate:
        """The option with the best top-1, by likelihood where that is equal."""
        return self._leader(self._left(options, None), len(self._evidence.trials))

    def _left(self, left: list[Candidate], best: Candidate | None) -> list[Candidate]:
        """The options that are not clearly worse than the best, however few images."""
        for n in self._evidence.looks()[:-1]:
            if len(left) == 1:
                break
            leader = best or max(
                left,
                key=lambda c: (self._evidence.right(c, n).sum(), self._evidence.likelihood(c, n)),
            )
            left = [c for c in left if not self._evidence.worse(c, leader, n)]
        return left

    def _leader(self, candidates: list[Candidate], n: int) -> Candidate:
        evidence = self._evidence
        return max(
            candidates, key=lambda c: (evidence.right(c, n).sum(), evidence.likelihood(c, n))
        )
