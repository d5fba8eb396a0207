"""Budgets of accuracy are decided on as few images as it takes, and say on how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeresnet.api.compare import compare as compare_files
from edgeresnet.device.measure.budgets import UNDECIDED_FIXES, enforce, verdict_of
from edgeresnet.device.measure.compare import compare
from edgeresnet.device.measure.decisions import decide, images_needed, judge, plan_of, walk
from edgeresnet.device.measure.sequential import Drop, Look, Share, WorstDrop, looks
from edgeresnet.device.measure.statistics import Interval
from edgeresnet.errors import CheckError, InputError
from edgeresnet.report.tables import budget_lines, compare_table
from edgeresnet.results.measured import Budget
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import load_recipe
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import Budgets
from tests.fakes import FakeDataset, FakeSession, opened, read_brightness

SPEC = InputSpec(8)
COUNT = 1000
DATA = FakeDataset([i % 10 for i in range(COUNT)])


def wrong_of(label: int, share: float) -> Callable[[np.ndarray], np.ndarray]:
    """Names the right class, but for some images of one class: of any batch the same share."""
    right, seen = read_brightness(SPEC), [0.0]

    def answer(batch: np.ndarray) -> np.ndarray:
        logits = right(batch)
        for i in np.flatnonzero(logits.argmax(1) == label):
            seen[0] += share
            if seen[0] >= 1:
                seen[0] -= 1
                logits[i] = np.roll(logits[i], 1)
        return logits

    return answer


def compared(
    candidate: Callable[[np.ndarray], np.ndarray], limits: Budgets, **more: Any
) -> tuple[dict[str, Any], list[FakeSession]]:
    # Nobody times what an emulator takes.
    sessions = [FakeSession(f, emulated=True) for f in (read_brightness(SPEC), candidate)]
    models = [opened(name, s, SPEC) for name, s in zip("ab", sessions, strict=True)]
    return compare(models, DATA, limits, rounds=2, **more), sessions


@pytest.mark.parametrize(
    ("wrong", "limits", "decision"),
    [(0, Budgets(max_drop=0.02), "kept"), (4, Budgets(max_drop=0.02), "missed"),
     (0, Budgets(max_disagreement=0.02), "kept"), (4, Budgets(max_disagreement=0.1), "missed")],
)  # fmt: skip
def test_compare_stops_when_every_budget_is_decided(
    wrong: int, limits: Budgets, decision: str
) -> None:
    answered: list[int] = []
    candidate = read_brightness(SPEC, wrong=wrong)
    result, _ = compared(candidate, limits, on_images=answered.append)
    (budget,) = result["budgets"]
    assert (budget["decision"], budget["images"], budget["looks"]) == (decision, 447, [447, COUNT])
    assert (result["n"], result["images_available"], sum(answered)) == (447, COUNT, 2 * 447)
    assert {row["n"] for row in result["rows"]} == {447}
    assert compare_table(result).title == "Before and after · fake · 447 of 1000 images · batch 1"
    assert budget_lines(result)[1] == "  decided on 447 of 1,000 images"
    assert f"{budget['name']}" in result["verdict_text"]
    assert "decided on 447 of 1,000 images" in result["verdict_text"]


def test_compare_has_the_budgets_interval_in_its_row_when_it_stops() -> None:
    result, _ = compared(read_brightness(SPEC, wrong=4), Budgets(max_drop=0.02))
    (budget,), difference = result["budgets"], result["rows"][1]["top1_difference"]
    figures = (difference["value"], difference["high"], difference["low"])
    assert (budget["value"], budget["low"], budget["high"]) == tuple(-f for f in figures)


@pytest.mark.parametrize(
    ("limits", "more"),
    [(Budgets(), {}), (Budgets(max_drop=0), {}),
     (Budgets(max_drop=0.02), {"all_images": True})],
)  # fmt: skip
def test_compare_answers_all_images_as_they_lie_when_nothing_stops_it(
    limits: Budgets, more: dict[str, bool]
) -> None:
    seen: list[float] = []

    def answer(batch: np.ndarray) -> np.ndarray:
        logits = read_brightness(SPEC)(batch)
        seen.extend(logits.argmax(1))
        return logits

    result, _ = compared(answer, limits, **more)
    assert (result["n"], result["images_available"]) == (COUNT, COUNT)
    assert seen[:COUNT] == DATA.labels.tolist()
    assert "of" not in str(compare_table(result).title).split(" · ")[2].split()


def test_compare_draws_other_images_when_the_seed_is_another() -> None:
    def labels(seed: int) -> list[int]:
        told: list[Any] = []
        compared(read_brightness(SPEC), Budgets(max_drop=0.02), seed=seed,
                 on_predictions=told.extend)  # fmt: skip
        assert (told[0].labels == told[1].labels).all()
        return [int(label) for label in told[0].labels]

    assert labels(0) == labels(0)
    assert labels(0) != labels(1)


def test_compare_finds_the_class_that_loses_when_the_whole_does_not() -> None:
    limits = Budgets(max_drop=0.05, max_class_drop=0.2)
    result, _ = compared(wrong_of(7, 0.5), limits, all_images=True)
    whole, worst = result["budgets"]
    assert (whole["name"], whole["decision"]) == ("max_drop", "undecided")
    assert (worst["name"], worst["decision"], worst["worst_class"]) == (
        "max_class_drop", "missed", "class-7",
    )  # fmt: skip
    assert worst["value"] == pytest.approx(0.5)
    assert "max_class_drop is missed: b has 0.5" in result["verdict_text"]
    assert "in class class-7, which is above 0.2" in result["verdict_text"]
    assert "  worst class: class-7" in budget_lines(result)


def test_a_limit_of_zero_is_decided_by_the_value_and_says_so() -> None:
    for name in ("max_drop", "max_class_drop", "max_disagreement", "quantize.max_drop"):
        kept = decide(name, 0.0, {"m": Interval(0.0, -0.01, 0.01)})
        assert (kept["decision"], kept["decided_by"]) == ("kept", "value")
        missed = decide(name, 0.0, {"m": Interval(0.001, -0.01, 0.01)})
        assert (missed["decision"], missed["decided_by"]) == ("missed", "value")
        enforce([kept], strict=True)
        assert "by its point value" in verdict_of([kept], strict=True)["verdict_text"]
        assert "by its point value" in verdict_of([missed], strict=False)["verdict_text"]
        assert budget_lines({"budgets": [kept]})[1].startswith("  by its value on these images")
    assert decide("max_drop", 0.01, {"m": Interval(0.0, -0.02, 0.02)})["decided_by"] == "interval"


def test_an_undecided_budget_says_how_many_images_would_decide_it() -> None:
    result, _ = compared(read_brightness(SPEC, wrong=100), Budgets(max_drop=0.015))
    (budget,) = result["budgets"]
    assert (budget["decision"], budget["images"]) == ("undecided", COUNT)
    needed = budget["images_needed"]
    # At one lost in a hundred: what a limit half a hundredth away takes, on the last look.
    enough, less = (Drop(k * needed / 100, 0, k * needed).interval(0.04) for k in (1, 0.9))
    assert enough.high <= 0.015 < less.high
    told = f"about {needed:,} images would decide it"
    assert budget_lines(result)[1] == f"  {told}"
    assert told in result["verdict_text"]
    with pytest.raises(CheckError, match=told) as caught:
        enforce(result["budgets"], strict=True)
    assert UNDECIDED_FIXES["max_drop"] in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "evidence", "needed"),
    [(0.01, Drop(1, 1, 100), True), (0.01, Drop(1, 0, 100), False), (0.12, Share(10, 100), True),
     (0.1, Share(10, 100), False), (0.05, WorstDrop({"a": Drop(1, 1, 50), "b": Drop(0, 0, 50)}),
                                    True)],
)  # fmt: skip
def test_images_needed_are_enough_or_none_is(limit: float, evidence: Any, needed: bool) -> None:
    found = images_needed(limit, {"m": evidence}, 100)
    assert (found is not None) == needed
    if found is not None:
        alpha = looks(found)[-1].alpha
        assert evidence.on(found).interval(alpha).high <= limit
        assert evidence.on(found * 0.8).interval(alpha).high > limit
    else:
        budget = judge("max_drop", limit, {"m": evidence}, Look(100, 0.05), [Look(100, 0.05)])
        assert "no number of images would decide it" in budget_lines({"budgets": [budget]})[1]


def test_walk_keeps_what_a_look_decided_while_another_budget_is_open() -> None:
    plan, seen = looks(2000), []

    def judged(look: Look) -> list[Budget]:
        # The first is kept by the first look alone; the second is decided by the second.
        first = Drop(0, 0, 400) if look is plan[0] else Drop(40, 0, look.images)
        second = Drop(look.images // 3 if look.images > 400 else 5, 0, look.images)
        named = {"max_drop": (0.03, first), "max_class_drop": (0.03, second)}
        return [judge(n, limit, {"m": e}, look, plan) for n, (limit, e) in named.items()]

    look, budgets = walk(plan, seen.append, judged)
    assert (look, seen) == (plan[1], [400, 894])
    assert [(b["decision"], b["images"]) for b in budgets] == [("kept", 400), ("missed", 894)]
    assert [x.images for x in plan_of(2000, {"max_drop": 0.1, "max_disagreement": 0})] == [2000]


def test_all_images_is_refused_when_no_budget_would_leave_any_out() -> None:
    with pytest.raises(InputError, match="--all-images has no effect"):
        compare_files(["a.onnx", "b.onnx"], Budgets(max_p99_ms=5), all_images=True)
    given = ["compare.all_images=true", "budgets.max_drop=null"]
    assert any(
        "compare.all_images" in line for line in fault_lines(load_recipe("quickstart", given))
    )
    allowed = fault_lines(load_recipe("quickstart", given[:1]))
    assert not any("all_images" in line for line in allowed)
