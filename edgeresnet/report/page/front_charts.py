"""Charts of several depths: top-1 against latency, size and energy, a line for each precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeresnet.report.front import point_figures
from edgeresnet.report.page.charts import (
    COLOURS,
    INK,
    LINES,
    MOST_MS,
    SHAPES,
    new_figure,
    svg_of,
    words,
)
from edgeresnet.untrusted import visible

# Of a chart, its costs: title, what it is called in the axis, key.
COSTS = (
    ("latency", "median latency in ms", "p50_ms"),
    ("size", "size of the model's files in MB", "megabytes"),
    ("energy", "energy of an input in mJ, above idle", "energy_mj"),
)
# Beside a mark, in points: right and left of it, near first.
PLACES = tuple(
    (side * across, up, "left" if side > 0 else "right")
    for across in (6, 12)
    for up in (5, -11, -3, 13, -19)
    for side in (1, -1)
)
# Half of a mark's and of a bar's width, in points.
MARK, BAR = 3, 1
COLUMNS = ["network", "top-1", "95 % interval", "lost", "p50 ms", "MB", "mJ"]


def front_charts(front: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Charts with their numbers as `page` takes them; those that have something to draw."""
    points = front["points"]
    numbers = [[visible(point["name"]), *point_figures(point)] for point in points]
    for name, axis, key in COSTS:
        if svg := _chart(points, name, axis, key):
            title = f"Depth: accuracy against {name} (* nothing beats it at both)"
            yield {"title": title, "svg": svg, "columns": COLUMNS, "rows": numbers}


def _chart(points: Sequence[Mapping[str, Any]], name: str, axis: str, key: str) -> str | None:
    """Top-1 with its interval against one cost; None where fewer than two points have both."""
    known = [p for p in points if p[key] is not None and 0 < p[key] <= MOST_MS]
    known = [p for p in known if p["top1"] is not None and 0 <= p["top1"] <= 1]
    if len(known) < 2:
        return None
    figure, axes = new_figure(3.8)
    series = dict.fromkeys((p["target"], p["precision"]) for p in known)
    for place, of in enumerate(series):
        own = [p for p in known if (p["target"], p["precision"]) == of]
        _draw(axes, own, place, key)
    legend = figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9)
    for text, (target, precision) in zip(legend.get_texts(), series, strict=True):
        text.set(text=words(f"{target} {precision}"), parse_math=False)
    axes.set_xlabel(axis)
    axes.set_ylabel("top-1, with 95 % interval")
    axes.set_xlim(0, 1.1 * max(p[key] for p in known))
    _name_points(axes, known, key, name)
    return svg_of(figure, f"front-{name}", f"Top-1 against {name}, a line for each precision")


def _draw(axes: Any, points: Sequence[Mapping[str, Any]], place: int, key: str) -> None:
    """One precision: its points in the order of the recipe."""
    colour = COLOURS[place % len(COLOURS)]
    x, y = [p[key] for p in points], [p["top1"] for p in points]
    spans = [p["top1_interval"] or [p["top1"], p["top1"]] for p in points]
    below = [max(0.0, top1 - low) for top1, (low, _) in zip(y, spans, strict=True)]
    above = [max(0.0, min(high, 1.0) - top1) for top1, (_, high) in zip(y, spans, strict=True)]
    axes.errorbar(
        x, y, yerr=[below, above], fmt=SHAPES[place % len(SHAPES)], color=colour, ecolor=colour,
        elinewidth=1.0, capsize=3, markersize=6, linestyle=LINES[place % len(LINES)], linewidth=1.2,
        label=str(place),
    )  # fmt: skip


def _name_points(axes: Any, points: Sequence[Mapping[str, Any]], key: str, cost: str) -> None:
    """Each point's depth beside it, where it lies over the fewest marks, bars and other names.

    Those that nothing beats at both have a star.
    """
    figure = axes.figure
    # Gives everything the place that it will have.
    figure.draw_without_rendering()
    taken = [box for point in points for box in _boxes(axes, point, key)]
    for point in points:
        star = "*" * (cost in point["best_at"])
        name = axes.annotate(
            words(point["arch"].removeprefix("resnet")) + star, (point[key], point["top1"]),
            color=INK,
            xytext=PLACES[0][:2], textcoords="offset points", fontsize=8, parse_math=False,
        )  # fmt: skip
        place = min(PLACES, key=lambda place: _overlaps(name, place, axes.bbox, taken))
        _put(name, place)
        taken.append(name.get_window_extent())


def _boxes(axes: Any, point: Mapping[str, Any], key: str) -> Iterator[Any]:
    """What a point's mark and the bar of its interval take, in pixels."""
    from matplotlib.transforms import Bbox

    low, high = point["top1_interval"] or [point["top1"]] * 2
    pixels = axes.figure.dpi / 72
    for bottom, top, half in ((point["top1"], point["top1"], MARK), (low, high, BAR)):
        (x, y), (_, upper) = axes.transData.transform([(point[key], bottom), (point[key], top)])
        margin = half * pixels
        yield Bbox.from_extents(x - margin, y - margin, x + margin, upper + margin)


def _overlaps(name: Any, place: tuple[int, int, str], inside: Any, taken: Sequence[Any]) -> int:
    """How much a name would lie over in a place; what sticks out of the axes most of all."""
    _put(name, place)
    box = name.get_window_extent()
    out = not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
    return int(box.count_overlaps(taken)) + len(taken) * out


def _put(name: Any, place: tuple[int, int, str]) -> None:
    name.set_position(place[:2])
    name.set_horizontalalignment(place[2])
