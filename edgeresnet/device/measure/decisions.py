"""What an interval, or several looks at images, decide of a budget.

A budget is ``kept`` or ``missed`` where its whole interval lies on one side of the limit, and
``undecided`` where the interval holds the limit. Those of accuracy are decided on as few images as
it takes; see `sequential` for how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from edgeresnet.device.measure.sequential import Evidence, Look, WorstDrop, looks
from edgeresnet.device.measure.statistics import Interval
from edgeresnet.results.measured import Budget

Decision = Literal["kept", "missed", "undecided"]
# Budgets whose limit is the least that is accepted; of all others it is the most.
AT_LEAST = ("min_speedup",)
# No number of images shows that nothing at all is lost: a limit of 0 is a matter of the value.
BY_VALUE_AT_ZERO = ("max_drop", "max_class_drop", "max_disagreement")
# Of more images nobody dreams.
MOST_IMAGES = 10**8


def decide(name: str, limit: float, found: Mapping[str, Interval | float]) -> Budget:
    """One budget for one or more candidates, all of which must keep it.

    ``value``, ``low`` and ``high`` are of the worst of all candidates, each bound by itself: a
    candidate whose value is not the worst may be the one that may break the limit. So the budget is
    kept only if every candidate surely keeps it, and missed if one surely does not.

    Args:
        name: of the budget, such as ``max_drop``.
        limit: what is accepted.
        found: for each candidate by name its figure; a bare number has no interval and is in doubt.

    Returns:
        ``name``, ``limit``, ``value``, ``low`` and ``high`` (None without an interval), ``met``
        (whether the value keeps the limit), ``decision``, ``decided_by`` (``interval``, or
        ``value`` where a limit of accuracy is 0), and ``candidate``: whose value it is.
    """
    kind = name.split(".")[-1]
    at_least = kind in AT_LEAST
    worst = min if at_least else max
    values = {c: f.value if isinstance(f, Interval) else float(f) for c, f in found.items()}
    candidate = worst(values, key=lambda c: values[c])
    value = values[candidate]
    intervals = [f for f in found.values() if isinstance(f, Interval)]
    low = high = None
    if len(intervals) == len(found):
        low, high = worst(i.low for i in intervals), worst(i.high for i in intervals)
    met = value >= limit if at_least else value <= limit
    by_value = limit == 0 and kind in BY_VALUE_AT_ZERO
    decision = _decision(limit, value, low, high, at_least=at_least)
    if by_value:
        decision = "kept" if met else "missed"
    return {
        "name": name,
        "limit": limit,
        "value": value,
        "low": low,
        "high": high,
        "met": met,
        "decision": decision,
        "decided_by": "value" if by_value else "interval",
        "candidate": candidate,
    }


def _decision(
    limit: float, value: float, low: float | None, high: float | None, *, at_least: bool
) -> Decision:
    if low is None or high is None:
        return "undecided"
    if at_least:
        limit, value, low, high = -limit, -value, -high, -low
    # The value too: an interval that is not centred on it must not contradict ``met``.
    if max(value, high) <= limit:
        return "kept"
    return "missed" if min(value, low) > limit else "undecided"


def plan_of(n: int, limits: Mapping[str, float], *, all_images: bool = False) -> tuple[Look, ...]:
    """The looks at ``n`` images that budgets of accuracy take.

    One look, at all images, where nothing is limited, where a limit of 0 is decided by the point
    value, and where all images are wanted.

    Args:
        n: images that there are.
        limits: of the budgets of accuracy, by name.
        all_images: evaluate all of them, whatever the budgets say on the way.
    """
    return looks(n, whole=all_images or not limits or 0 in limits.values())


def judge(
    name: str,
    limit: float,
    evidence: Mapping[str, Evidence],
    look: Look,
    plan: Sequence[Look],
    *,
    last: bool = False,
) -> Budget:
    """One budget of accuracy as it stands at a look.

    Args:
        name: of the budget, such as ``max_drop``.
        limit: the most that is accepted.
        evidence: for each candidate by name what the images seen by then show.
        look: in question.
        plan: all looks that were declared.
        last: no further look will be taken, though there are some.

    Returns:
        As `decide`, with ``images`` (seen by then), ``looks`` (after how many images budgets are
        looked at), for the worst class ``worst_class``, and where the last look taken leaves it
        undecided ``images_needed``: how many images would decide it at the rates observed (None: no
        number would).
    """
    found = {candidate: shown.interval(look.alpha) for candidate, shown in evidence.items()}
    budget = decide(name, limit, found)
    budget["images"] = look.images
    budget["looks"] = [each.images for each in plan]
    shown = evidence[budget["candidate"]]
    if isinstance(shown, WorstDrop):
        budget["worst_class"] = shown.worst
    if budget["decision"] == "undecided" and (last or look == plan[-1]):
        budget["images_needed"] = images_needed(limit, evidence, look.images)
    return budget


def images_needed(limit: float, evidence: Mapping[str, Evidence], seen: int) -> int | None:
    """Images that would decide a budget if the rates stay what they are; None: no number would.

    Args:
        limit: the most that is accepted.
        evidence: for each candidate by name what ``seen`` images show, which is not enough.
        seen: images.
    """

    def decides(n: int) -> bool:
        alpha = looks(n)[-1].alpha
        more = {name: shown.on(n).interval(alpha) for name, shown in evidence.items()}
        return decide("", limit, more)["decision"] != "undecided"

    few, many = seen, 2 * seen
    while not decides(many):
        if many > MOST_IMAGES:
            return None
        few, many = many, 2 * many
    while many - few > max(1, few // 100):
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    # Two digits are more than the observed rates are worth.
    step = int(10 ** max(0, len(str(many)) - 2))
    return -(-many // step) * step


def walk(
    plan: Sequence[Look],
    see: Callable[[int], object],
    judged: Callable[[Look], Sequence[Budget]],
) -> tuple[Look, list[Budget]]:
    """See images until every budget is decided, or all are seen.

    What was decided at a look stays so: that is what its interval was made for.

    Args:
        plan: the looks, declared before the first image.
        see: sees images until so many are seen.
        judged: the budgets as they stand at a look, always the same ones.

    Returns:
        The last look that was taken, and the budgets, each of the look that decided it.
    """
    settled: dict[str, Budget] = {}
    for look in plan:
        see(look.images)
        for budget in judged(look):
            before = settled.get(budget["name"])
            if before is None or before["decision"] == "undecided":
                settled[budget["name"]] = budget
        if settled and all(budget["decision"] != "undecided" for budget in settled.values()):
            break
    return look, list(settled.values())
