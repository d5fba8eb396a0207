"""Bars of layers: how long each takes before and after, and what quantizing each alone costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgeresnet.report.figures import figure
from edgeresnet.report.page.charts import COLOURS, INK, MOST_MS, new_figure, svg_of, words

# With more names than this the layers of a block share a bar, and only the worst are drawn.
MOST_BARS = 40
ADDED = "added by the runtime"
LEAST_KL = 1e-9


def layer_charts(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A chart for each model that has times of layers, beside the one its speed-up is against.

    Args:
        rows: of a run's comparison.
    """
    timed = {row["name"]: row for row in rows if row.get("layers")}
    for row in timed.values():
        before = timed.get(row["speedup_against"])
        if before is None or before is row:
            continue
        olds, news = times(before["layers"]), times(row["layers"])
        names = _in_order(olds, news)
        pairs = {name: (olds.get(name), news.get(name)) for name in names}
        yield {
            "title": f"Where the time goes: {words(row['name'])}, before {words(before['name'])}",
            "svg": _time_bars(pairs, str(len(rows)) + row["name"]),
            "columns": ["layer", "ms before", "ms after"],
            "rows": [
                [words(name), figure(old, 4), figure(new, 4)] for name, (old, new) in pairs.items()
            ],
        }


def times(layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Milliseconds by the first layer of each kernel; what the runtime added is one."""
    found: dict[str, float] = {}
    for layer in layers:
        if 0 <= layer["time_ms"] <= MOST_MS:
            name = layer["name"].split(" + ")[0] if layer["nodes"] else ADDED
            found[name] = found.get(name, 0.0) + layer["time_ms"]
    return found


def _in_order(olds: Iterable[str], news: Iterable[str]) -> list[str]:
    """All names once, each behind what it follows; what the runtime added has no place: it ends."""
    names, place = [*olds], 0
    for name in news:
        if name not in names:
            names.insert(place, name)
        place = names.index(name) + 1
    return sorted(names, key=lambda name: name == ADDED)


def _time_bars(pairs: Mapping[str, tuple[float | None, float | None]], name: str) -> str:
    sums: dict[str, list[float]] = {}
    for layer, both in pairs.items():
        own = sums.setdefault(_block(layer) if len(pairs) > MOST_BARS else layer, [0.0, 0.0])
        for place, ms in enumerate(both):
            own[place] += ms or 0.0
    drawn, axes = new_figure(1.1 + 0.26 * len(sums))
    places = range(len(sums))
    olds, news = [old for old, _ in sums.values()], [new for _, new in sums.values()]
    axes.barh([p - 0.2 for p in places], olds, 0.36, color="none", edgecolor=INK, linewidth=0.9)
    axes.barh([p + 0.2 for p in places], news, 0.36, color=COLOURS[0])
    axes.set_yticks(places, [words(layer) for layer in sums], parse_math=False)
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("ms: outlined before, filled after")
    return svg_of(drawn, f"layers {name}", "Time of each layer before and after")


def _block(layer: str) -> str:
    """``layer3.5`` of ``layer3.5.conv2``; other names stay."""
    parts = layer.split(".")
    return ".".join(parts[:2]) if parts[0].startswith("layer") and len(parts) > 2 else layer


def sensitivity_chart(rungs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What quantizing each layer alone changes, of the last rung that measured it; else None.

    Args:
        rungs: of a quantization.
    """
    known = [rung for rung in rungs if rung.get("sensitivities")]
    if not known:
        return None
    costs = dict(sorted(known[-1]["sensitivities"].items(), key=lambda one: -one[1]))
    what = "1 - cosine of embeddings" if known[-1].get("cosine") else "divergence in nats"
    worst = {name: kl for name, kl in [*costs.items()][:MOST_BARS] if LEAST_KL < kl <= MOST_MS}
    if not worst:
        return None
    drawn, axes = new_figure(0.9 + 0.22 * len(worst))
    axes.plot([*worst.values()], range(len(worst)), "o", color=COLOURS[0], markersize=6)
    axes.set_xscale("log")
    axes.set_yticks(range(len(worst)), [words(name) for name in worst], parse_math=False)
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{what}, where only it is quantized")
    return {
        "title": "What quantizing each layer costs",
        "svg": svg_of(drawn, "sensitivity", "Where only a layer is quantized"),
        "columns": ["layer", what],
        "rows": [[words(name), f"{kl:.3g}"] for name, kl in costs.items()],
    }
