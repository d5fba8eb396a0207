"""What became of a budget, in lines."""

from __future__ import annotations

from edgeresnet.results.measured import Budget, decided_text, figure_text


def decision_lines(budget: Budget) -> list[str]:
    """The value with its interval and the decision, then what else there is to say of it."""
    name, limit = budget["name"], budget["limit"]
    lines = [f"budget {name} {limit:g}: {figure_text(budget)} {_decision(budget)}"]
    more = [f"worst class: {budget['worst_class']}"] if "worst_class" in budget else []
    if budget.get("decided_by") == "value":
        more.append("by its value on these images, as a limit of 0 always is")
    more += filter(None, [decided_text(budget)])
    return [*lines, *([f"  {'; '.join(more)}"] if more else [])]


def _decision(budget: Budget) -> str:
    if budget["decision"] == "undecided":
        return "undecided, met" if budget["met"] else "undecided, MISSED"
    return "kept" if budget["met"] else "MISSED"
