"""What an audit gives back: a line for each claim that a bundle or a run makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import TypedDict

Outcome = Literal["held", "does not hold", "not comparable", "not checked"]
HELD: Outcome = "held"
BROKEN: Outcome = "does not hold"
NOT_COMPARABLE: Outcome = "not comparable"
NOT_CHECKED: Outcome = "not checked"
OUTCOMES: tuple[Outcome, ...] = (HELD, BROKEN, NOT_COMPARABLE, NOT_CHECKED)


@dataclass(frozen=True)
class Claim:
    """One claim, and what came of checking it.

    Attributes:
        subject: what makes it: a bundle, a stage, a file of a run.
        name: what it is about.
        outcome: whether it holds.
        text: what was found, or why nothing was checked.
    """

    subject: str
    name: str
    outcome: Outcome
    text: str

    def to_dict(self) -> ClaimResults:
        """For JSON."""
        return ClaimResults(
            subject=self.subject, name=self.name, outcome=self.outcome, text=self.text
        )


class ClaimResults(TypedDict):
    """`Claim` in the JSON contract."""

    subject: str
    name: str
    outcome: Outcome
    text: str


class VerifyResults(TypedDict):
    """``verify``. ``broken`` is the first claim that does not hold; None: there is none.

    ``counts`` has for each outcome the number of claims.
    """

    schema: int
    kind: Literal["bundle", "run"]
    name: str
    claims: list[ClaimResults]
    counts: dict[str, int]
    broken: ClaimResults | None
    verdict: Literal["pass", "fail"]
    verdict_text: str
    strict: bool
    environment: dict[str, Any]


class ClaimsOf:
    """Collects the claims of one subject.

    Args:
        subject: what makes them.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.claims: list[Claim] = []

    def judge(self, name: str, faults: str | Sequence[str] | None, held: str) -> bool:
        """A claim that was checked.

        Args:
            name: what it is about.
            faults: what is wrong; nothing (None, or empty) where it holds.
            held: what is told where it holds.

        Returns:
            Whether it holds.
        """
        told = [faults] if isinstance(faults, str) else [*(faults or ())]
        more = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        outcome, text = (BROKEN, "; ".join(told[:MOST_TOLD]) + more) if told else (HELD, held)
        self.claims.append(Claim(self.subject, name, outcome, text))
        return not told

    def unchecked(self, name: str, why: str) -> None:
        """A claim that could not be checked."""
        self.claims.append(Claim(self.subject, name, NOT_CHECKED, why))

    def incomparable(self, name: str, why: str) -> None:
        """A time that says nothing about another."""
        self.claims.append(Claim(self.subject, name, NOT_COMPARABLE, why))


# Of the faults of one claim.
MOST_TOLD = 3


def audit_results(
    kind: Literal["bundle", "run"],
    name: str,
    claims: Sequence[Claim],
    environment: dict[str, Any],
    *,
    strict: bool,
) -> VerifyResults:
    """The JSON contract of ``verify``.

    Args:
        kind: of what was audited.
        name: of it.
        claims: in the order in which they were checked.
        environment: of this machine.
        strict: a claim that was not checked counts as one that does not hold.
    """
    counts = Counter(claim.outcome for claim in claims)
    failing = (BROKEN, NOT_CHECKED) if strict else (BROKEN,)
    first = next((claim for claim in claims if claim.outcome in failing), None)
    return VerifyResults(
        schema=1,
        kind=kind,
        name=name,
        claims=[claim.to_dict() for claim in claims],
        counts={outcome: counts[outcome] for outcome in OUTCOMES},
        broken=None if first is None else first.to_dict(),
        verdict="pass" if first is None else "fail",
        verdict_text=_sentence(claims, counts, first),
        strict=strict,
        environment=environment,
    )


def _sentence(claims: Sequence[Claim], counts: Counter[Outcome], first: Claim | None) -> str:
    if first is not None:
        what = "does not hold" if first.outcome == BROKEN else "was not checked"
        return f"{first.subject}: {first.name} {what}."
    others = [f"{counts[one]} {one}" for one in (NOT_COMPARABLE, NOT_CHECKED) if counts[one]]
    told = f", {' and '.join(others)}" if others else ""
    return f"{counts[HELD]} of {len(claims)} claims hold{told}; none was found false."
