"""What was taken, against everything else that it might have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeresnet.device.measure.accuracy import paired_difference
from edgeresnet.device.measure.statistics import Z95, Interval
from edgeresnet.host.adoption.evidence import Evidence
from edgeresnet.host.adoption.space import Candidate, Space

# Stem, stride, size and crop, where several of them differ at once.
SHAPE = "shape"


@dataclass(frozen=True)
class Comparison:
    """An option of a field against the one that was taken.

    Attributes:
        field: of `Candidate`, or `SHAPE`, or ``classes``.
        option: its value.
        n: images on which both were run.
        top1: of the option on these.
        difference: of top-1 to the taken one's on the same images, with its own 95 % interval.
        differing: share of images with another answer.
        taken: whether it is the taken one itself.
        separated: whether it is clearly worse.
    """

    field: str
    option: object
    n: int
    top1: float
    difference: Interval
    differing: float
    taken: bool
    separated: bool


def compare(evidence: Evidence, space: Space, name: str, taken: Candidate) -> list[Comparison]:
    """Each option of a field against the taken one, on as many images as it took."""
    options = space.near(taken, name)
    return [_compared(evidence, name, getattr(c, name), c, taken) for c in options]


def compare_shapes(
    evidence: Evidence, rivals: Sequence[Candidate], taken: Candidate
) -> list[Comparison]:
    """Other stems, sizes and crops that may make up for each other, against the taken ones."""
    others = [c for c in rivals if not evidence.likelier(taken, c)]
    if not others:
        return []
    rows = [_compared(evidence, SHAPE, shape_words(c), c, taken) for c in (taken, *others)]
    return [row for row in rows if not row.separated]


def shape_words(candidate: Candidate) -> str:
    """Stem, stride, size and crop of a candidate."""
    parts = (candidate.stem, candidate.stride_in, f"{candidate.size} px", candidate.crop)
    return ", ".join(filter(None, parts))


def _compared(
    evidence: Evidence, name: str, option: object, candidate: Candidate, taken: Candidate
) -> Comparison:
    looks, total = evidence.looks(), len(evidence.trials)
    n = next((n for n in looks if evidence.worse(candidate, taken, n)), total)
    answers, others = (evidence.trials.logits(c, n).argmax(1) for c in (candidate, taken))
    return Comparison(
        name,
        option,
        n,
        float(evidence.right(candidate, n).mean()),
        paired_difference(evidence.right(taken, n), evidence.right(candidate, n)),
        float((answers != others).mean()),
        candidate == taken,
        evidence.worse(candidate, taken, n, z=Z95),
    )


def compare_orders(evidence: Evidence, candidate: Candidate) -> list[Comparison]:
    """Each order of the classes against the taken one."""
    n, labels = len(evidence.trials), evidence.trials.labels
    taken = evidence.right_in(candidate, n, evidence.order)
    outputs = evidence.outputs(candidate, evidence.order)
    rows = []
    for order in evidence.order_names():
        other = evidence.outputs(candidate, order)
        if order != evidence.order and bool((other == outputs).all()):
            continue
        right = evidence.right_in(candidate, n, order)
        difference = paired_difference(taken, right)
        rows.append(
            Comparison(
                "classes",
                order,
                n,
                float(right.mean()),
                difference,
                float((other[labels] != outputs[labels]).mean()),
                order == evidence.order,
                order != evidence.order and not difference.low <= 0 <= difference.high,
            )
        )
    return rows
