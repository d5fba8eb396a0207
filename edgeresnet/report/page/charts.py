"""Charts of a page as inline SVG: text that can be found and read, lines in the text's colour.

What is drawn is told apart by shape and by words beside it, never by colour alone.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeresnet.files.places import cache_dir
from edgeresnet.untrusted import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Becomes the colour of the page's text, which is another in the dark and on paper.
INK = "#010203"
# Okabe and Ito, 2008: told apart by colour-blind eyes, and in grey by how light they are.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
SHAPES = ("o", "s", "^", "D", "v", "P")
WIDTH = 7.2
MOST_MS = 1e7
# Lines are told apart by their strokes too.
LINES = ("-", "--", ":", "-.")
MOST_POINTS = 200


def accuracy_chart(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Top-1, with its interval, against the median latency.

    Args:
        rows: of a comparison.

    Returns:
        SVG; None where fewer than two models have both.
    """
    known = [row for row in _timed(rows) if row["top1"] is not None and 0 <= row["top1"] <= 1]
    if len(known) < 2:
        return None
    figure, axes = new_figure(3.6)
    for place, row in enumerate(known):
        low, high = row["top1_interval"]
        x, y = row["p50_ms"], row["top1"]
        colour = COLOURS[place % len(COLOURS)]
        axes.errorbar(
            [x], [y], yerr=[[max(0.0, y - low)], [max(0.0, min(high, 1.0) - y)]],
            fmt=SHAPES[place % len(SHAPES)], color=colour, ecolor=colour, elinewidth=1.2,
            capsize=3, markersize=7, label=str(place),
        )  # fmt: skip
    # Beside the chart: words at marks that lie as near as these would lie over each other.
    legend = figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9)
    # Written afterwards, because a label that begins with _ would be left out.
    for text, row in zip(legend.get_texts(), known, strict=True):
        text.set(text=words(row["name"]), parse_math=False)
    axes.set_xlabel("median latency in ms")
    axes.set_ylabel("top-1, with 95 % interval")
    axes.set_xlim(0, 1.1 * max(row["p50_ms"] for row in known))
    return svg_of(figure, "accuracy", "Top-1 against latency, a mark for each model")


def latency_chart(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """For each model the median, p99 and, with cold caches, the median again.

    Args:
        rows: of a comparison.

    Returns:
        SVG; None where nothing was timed.
    """
    known = _timed(rows)
    if not known:
        return None
    figure, axes = new_figure(0.9 + 0.42 * len(known))
    for place, row in enumerate(known):
        axes.plot(
            [row["p50_ms"], row["p99_ms"]], [place, place], color=INK, linewidth=1.2, alpha=0.6
        )
        for key, shape, colour in (
            ("p50_ms", "o", COLOURS[0]), ("p99_ms", "|", INK), ("cold_p50_ms", "s", COLOURS[1]),
        ):  # fmt: skip
            if row.get(key) is not None and 0 < row[key] <= MOST_MS:
                axes.plot([row[key]], [place], shape, color=colour, markersize=8)
    axes.set_yticks(range(len(known)), [words(row["name"]) for row in known], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("ms: circle p50, bar p99, square p50 with cold caches")
    return svg_of(figure, "latency", "Latency of each model")


def distribution_chart(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """How many of the timed runs were done in how long: all of them, none left out.

    Args:
        rows: of a comparison; ``samples_ms`` are its runs, which older ones do not have.

    Returns:
        SVG; None where no runs are kept.
    """
    known = [row for row in _timed(rows) if sampled(row)]
    if not known:
        return None
    figure, axes = new_figure(3.4)
    from matplotlib.ticker import LogLocator, NullLocator

    for place, row in enumerate(known):
        runs = sorted(sampled(row))
        # As many points as can be seen; the last is the slowest run.
        steps = min(len(runs), MOST_POINTS)
        picked = [runs[round(k * (len(runs) - 1) / max(1, steps - 1))] for k in range(steps)]
        axes.plot(
            picked, [100 * (k + 1) / steps for k in range(steps)], LINES[place % len(LINES)],
            color=COLOURS[place % len(COLOURS)], linewidth=1.8, drawstyle="steps-post",
            label=str(place),
        )  # fmt: skip
    legend = figure.legend(loc="outside right upper", frameon=False, labelcolor=INK, fontsize=9)
    for text, row in zip(legend.get_texts(), known, strict=True):
        text.set(text=words(row["name"]), parse_math=False)
    axes.set_xscale("log")
    # Few enough to be told apart, whatever the times are.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 101)
    axes.set_xlabel("ms of a run")
    axes.set_ylabel("% of the runs done")
    return svg_of(figure, "distribution", "How long the runs of each model took")


def sampled(row: Mapping[str, Any]) -> list[float]:
    """A row's timed runs in ms that can be drawn; none where they are not kept."""
    samples = row.get("samples_ms") or ()
    return [float(ms) for ms in samples if 0 < ms <= MOST_MS]


def ladder_chart(rungs: Sequence[Mapping[str, Any]]) -> str | None:
    """What each rung of a quantization lost, with its interval.

    Args:
        rungs: of a quantization.

    Returns:
        SVG; None where there is one rung, or no labels.
    """
    known = [rung for rung in rungs if (drop := rung.get("drop")) is not None and abs(drop) <= 1]
    known = [rung for rung in known if rung.get("drop_interval")]
    if len(known) < 2:
        return None
    figure, axes = new_figure(0.9 + 0.42 * len(known))
    for place, rung in enumerate(known):
        low, high = rung["drop_interval"]
        axes.plot([low, high], [place, place], color=INK, linewidth=1.2, alpha=0.6)
        axes.plot([rung["drop"]], [place], "o", color=COLOURS[0], markersize=8)
    axes.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
    axes.set_yticks(range(len(known)), [words(r["method"]) for r in known], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("top-1 lost against float, with 95 % interval")
    return svg_of(figure, "ladder", "What each rung of the quantization lost")


def _timed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with a latency that can be drawn: what a stranger wrote may be any number."""
    known = (row for row in rows if row["p50_ms"] is not None)
    return [row for row in known if 0 < row["p50_ms"] <= (row.get("p99_ms") or 0) <= MOST_MS]


def new_figure(height: float) -> tuple[Figure, Axes]:
    """Height in inches, of a figure `WIDTH` wide."""
    # Where it keeps its list of fonts: in our cache, not in the user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, color=INK, alpha=0.15, linewidth=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def svg_of(figure: Figure, name: str, title: str) -> str:
    """The figure as an element of a page; ``name`` keeps its identifiers apart from others'."""
    import matplotlib

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
    text = io.StringIO()
    with matplotlib.rc_context(settings):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def words(text: str) -> str:
    """A name as it may be drawn: no signs that are no text, and not endless."""
    shown = visible(text)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
