"""The names in the chart of several depths."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from edgeresnet.report.page import front_charts
from edgeresnet.report.page.charts import WIDTH


def point(arch: str, precision: str, p50_ms: float, top1: float) -> dict[str, Any]:
    return {
        "arch": arch, "target": "onnx", "precision": precision, "p50_ms": p50_ms, "top1": top1,
        "top1_interval": [top1 - 0.02, top1 + 0.02], "best_at": ["latency"],
    }  # fmt: skip


# How far one in integers is from one in float: its very place, beside it, below and to the right.
@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.3, 0.0), (1.1, 0.005)])
def test_names_lie_over_no_other_when_points_are_near_each_other(
    monkeypatch: pytest.MonkeyPatch, right: float, down: float
) -> None:
    drawn: list[Any] = []

    def keep(figure: Any, *_: str) -> str:
        drawn.append(figure)
        return "<svg/>"

    monkeypatch.setattr(front_charts, "svg_of", keep)
    points = [
        point("resnet18", "fp32", 2.0, 0.81), point("resnet50", "fp32", 5.6, 0.785),
        point("resnet18", "int8", 2.0 + right, 0.81 - down),
        point("resnet101", "int8", 5.6 + right, 0.785 - down),
        point("resnet152", "int8", 16.0, 0.79),
    ]  # fmt: skip
    assert front_charts._chart(points, "latency", "ms", "p50_ms") is not None
    (figure,) = drawn
    figure.draw_without_rendering()
    boxes = [name.get_window_extent() for name in figure.axes[0].texts]
    assert len(boxes) == len(points)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= WIDTH * figure.dpi for box in boxes)
