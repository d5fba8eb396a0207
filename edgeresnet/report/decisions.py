"""What became of a budget, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeresnet.results.measured import Budget, decided_text, figure_text

# A line for more would hide the others; the JSON has all.
MOST_CLASSES = 5


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


def change_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each candidate lost or gained, and the classes that changed by more than luck."""
    lines = []
    for row in rows:
        if row.get("change_text") is None:
            continue
        lines.append(f"{row['name']}: {row['change_text']}")
        lines += [
            f"  class {one['class']}: {one['lost']} lost, {one['gained']} gained of "
            f"{one['images']:,} images (p {one['p']:.2g})"
            for one in row["changed_classes"][:MOST_CLASSES]
        ]
    return lines


def mistake_lines(result: Mapping[str, Any]) -> list[str]:
    """Averages of the classes, and what is most often taken for what."""
    if "confusion" not in result:
        return []
    averages = (
        f"balanced accuracy {result['balanced_accuracy']:.4f}, macro F1 {result['macro_f1']:.4f}"
    )
    if result["calibration_error"] is not None:
        averages += f", expected calibration error {result['calibration_error']:.4f}"
    wrong = [
        (count, name, taken)
        for name, row in result["confusion"].items()
        for taken, count in row.items()
        if taken != name
    ]
    wrong.sort(key=lambda one: -one[0])
    told = [f"{name} as {taken} {count}" for count, name, taken in wrong[:MOST_CLASSES]]
    return [averages, *([f"most often mistaken: {', '.join(told)}"] if told else [])]
