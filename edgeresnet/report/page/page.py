"""A run's results as one page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeresnet.report.embeddings import embedding_lines
from edgeresnet.report.fastest import fastest_line
from edgeresnet.report.features import feature_lines
from edgeresnet.report.figures import DASH, figure
from edgeresnet.report.front import front_lines
from edgeresnet.report.page.bars import layer_charts, sensitivity_chart
from edgeresnet.report.page.charts import (
    accuracy_chart,
    distribution_chart,
    ladder_chart,
    latency_chart,
    sampled,
)
from edgeresnet.report.page.front_charts import front_charts
from edgeresnet.results.measured import decided_text, figure_text
from edgeresnet.untrusted import visible

TEMPLATE = Path(__file__).with_name("page.html")
DECISIONS = {"kept": "✓ kept", "missed": "✗ missed", "undecided": "? undecided"}
WORDS = {"pass": "✓ Passed", "fail": "✗ Failed"}
# Of a model's runs, as the table beside their chart has them.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
# Of the machine, in this order; the record has all.
MACHINE = ("cpu", "cores", "cpu_quota", "memory_mib", "system", "machine", "load_average", "board")


def page(
    results: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]] = (),
    pictures: Mapping[int, bytes] | None = None,
) -> str:
    """HTML of a run or a comparison.

    Args:
        results: the JSON contract of ``compare`` or ``run``; whoever made them, what is in them is
            text here, and never a part of the page.
        stages: records of a run's stages: ``stage``, ``seconds`` and ``settings``.
        pictures: PNG files of images whose answer changed, by their index in the data.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    charts = [{**chart, "svg": Markup(chart["svg"])} for chart in _charts(results)]  # noqa: S704 (matplotlib's own, which escapes)
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = made.from_string(TEMPLATE.read_text(encoding="utf-8"))
    html: str = template.render(
        title=_seen(results.get("recipe") or f"comparison on {results['data']}"),
        facts=list(facts(results)),
        verdict={
            "kind": results["verdict"],
            "word": WORDS.get(results["verdict"], "Not measured here"),
        },
        results={"verdict_text": _seen(results["verdict_text"])},
        lines=[_seen(line) for line in _lines(results)],
        budgets=[budget_view(one) for one in results["budgets"]],
        rows=[row_view(row, results["baseline"]) for row in results["rows"]],
        charts=charts,
        rungs=[rung_view(rung) for rung in results.get("rungs", ())],
        classes=list(_classes(results["rows"])),
        changed=[_image_view(one, pictures or {}) for one in results.get("changed_images", ())],
        commands=[_seen(line) for line in results.get("device_commands", ())],
        stages=[_stage_view(stage) for stage in stages],
        machine=list(_machine(results["environment"])),
        record=_seen(json.dumps(results, indent=1, ensure_ascii=False)),
    )
    return html


def facts(results: Mapping[str, Any]) -> Iterator[str]:
    """On what it was measured, in a few words each."""
    yield f"data {_seen(results['data'])}"
    available = results.get("images_available") or results["n"]
    yield f"{results['n']:,} of {available:,} images"
    if results["rounds"]:
        yield f"batch {results['batch']}"
        yield f"{results['rounds']} rounds by turns"


def budget_view(budget: Mapping[str, Any]) -> dict[str, str]:
    """A row of the table of budgets."""
    worst = f", class {budget['worst_class']}" if "worst_class" in budget else ""
    return {
        "name": _seen(budget["name"]),
        "limit": f"{budget['limit']:g}",
        "value": figure_text(budget),  # type: ignore[arg-type] # as a mapping it was read
        "of": _seen(f"{budget['candidate']}{worst}"),
        "decision": DECISIONS[budget["decision"]],
        "how": decided_text(budget),  # type: ignore[arg-type]
    }


def row_view(row: Mapping[str, Any], baseline: str | None) -> dict[str, str]:
    """A row of the table of models."""
    change, faster = row["top1_difference"], row["speedup"]
    itself = row["name"] == baseline
    emulated = " (emulated)" if row.get("emulated") else ""
    return {
        "name": _seen(f"{row['name']}{emulated}"),
        "told": _seen(row.get("change_text") or ""),
        "top1": figure(row["top1"], 4),
        "top1_interval": _span(row["top1_interval"], 4),
        "difference": DASH if itself or change is None else f"{change['value']:+.4f}",
        "difference_interval": ""
        if itself or change is None
        else _span([change["low"], change["high"]], 4),
        "agreement": figure(row["agreement"], 4),
        "p50": figure(row["p50_ms"], 2),
        "p99": figure(row["p99_ms"], 2),
        "speedup": DASH if faster is None else f"{faster['value']:.2f}x",
        "speedup_interval": _ratio_span(faster),
    }


def rung_view(rung: Mapping[str, Any]) -> dict[str, str]:
    """A row of the table of rungs."""
    layers = rung.get("float_layers") or ()
    told = [f"in float: {', '.join(layers)}"] if layers else []
    told += list(rung.get("doubts", ()))
    seconds = rung.get("seconds")
    return {
        "method": _seen(str(rung["method"])),
        "told": _seen("; ".join(told)),
        "top1": figure(rung.get("top1_int8"), 4),
        "drop": figure(rung.get("drop"), 4),
        "drop_interval": _span(rung.get("drop_interval"), 4),
        "agreement": figure(rung.get("agreement"), 4),
        "images": f"{rung['images']:,}" if rung.get("images") else DASH,
        "seconds": figure(seconds, 1),
    }


def _charts(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rows, rungs = results["rows"], results.get("rungs", ())
    if front := results.get("front"):
        yield from front_charts(front)
    elif svg := accuracy_chart(rows):
        numbers = [
            [_seen(r["name"]), figure(r["top1"], 4), _span(r["top1_interval"], 4),
             figure(r["p50_ms"], 3)]
            for r in rows
        ]  # fmt: skip
        columns = ["model", "top-1", "95 % interval", "p50 ms"]
        yield {"title": "Accuracy against latency", "svg": svg, "columns": columns, "rows": numbers}
    if svg := latency_chart(rows):
        keys = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "cold_p50_ms", "first_ms")
        numbers = [[_seen(r["name"]), *(figure(r.get(k), 3) for k in keys)] for r in rows]
        columns = ["model", "p50", "p90", "p95", "p99", "p50 cold", "first"]
        yield {"title": "Latency in ms", "svg": svg, "columns": columns, "rows": numbers}
    if svg := distribution_chart(rows):
        kept = [(r["name"], sorted(sampled(r))) for r in rows if sampled(r)]
        numbers = [
            [_seen(name), f"{len(runs):,}", *(figure(_quantile(runs, q), 3) for q in QUANTILES)]
            for name, runs in kept
        ]
        columns = ["model", "runs", "least", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %", "most"]
        title = "How long the runs took, in ms"
        yield {"title": title, "svg": svg, "columns": columns, "rows": numbers}
    if svg := ladder_chart(rungs):
        numbers = [
            [_seen(r["method"]), figure(r["drop"], 4), _span(r["drop_interval"], 4)]
            for r in rungs
            if r.get("drop") is not None
        ]
        columns = ["rung", "lost", "95 % interval"]
        yield {"title": "What each rung lost", "svg": svg, "columns": columns, "rows": numbers}
    yield from layer_charts(rows)
    if chart := sensitivity_chart(rungs):
        yield chart


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in order, that below which a share of them lies; between two, in proportion."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    """What there is to say against it."""
    yield from map(fastest_line, results.get("fastest", {}).values())
    if front := results.get("front"):
        yield from front_lines(front)
    yield from embedding_lines(results["rows"])
    yield from feature_lines(results["rows"])
    yield from _by_text(results.get("doubts", ()))
    if results.get("note"):
        yield results["note"]
    if results.get("unmeasured"):
        yield f"not measured here: {', '.join(results['unmeasured'])}"


def _by_text(doubts: Sequence[str]) -> Iterator[str]:
    """The same doubt of several models in one line."""
    of: dict[str, list[str]] = {}
    for doubt in doubts:
        name, _, text = doubt.partition(": ")
        of.setdefault(text, []).append(name)
    for text, names in of.items():
        yield f"{', '.join(names)}: {text}" if text else ", ".join(names)


def _classes(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for row in rows:
        for one in row.get("changed_classes") or ():
            yield {
                "model": _seen(row["name"]),
                "class": _seen(one["class"]),
                **{key: f"{one[key]:,}" for key in ("images", "lost", "gained")},
                "p": f"{one['p']:.2g}",
            }


def _image_view(one: Mapping[str, Any], pictures: Mapping[int, bytes]) -> dict[str, Any]:
    picture = pictures.get(one["index"])
    return {
        "image": _seen(one["image"]),
        "label": _seen(one["label"] or ""),
        "answers": [(_seen(name), _seen(answer)) for name, answer in one["answers"].items()],
        "picture": None
        if picture is None
        else f"data:image/png;base64,{b64encode(picture).decode()}",
    }


def _stage_view(stage: Mapping[str, Any]) -> dict[str, str]:
    settings = json.dumps(stage.get("settings"), indent=1, ensure_ascii=False)
    return {
        "name": _seen(stage["stage"]),
        "seconds": figure(stage["seconds"], 1),
        "settings": _seen(settings),
    }


def _machine(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in MACHINE:
        if environment.get(key) not in (None, "", [], {}):
            yield key.replace("_", " "), _seen(str(environment[key]))
    versions = environment.get("versions")
    if isinstance(versions, Mapping):
        for name, version in versions.items():
            yield _seen(str(name)), _seen(str(version))


def _ratio_span(ratio: Mapping[str, Any] | None) -> str:
    """Empty too where the rounds were too few for an interval."""
    if ratio is None or ratio["low"] is None or ratio["high"] is None:
        return ""
    return _span([ratio["low"], ratio["high"]], 2)


def _span(interval: Sequence[float] | None, digits: int) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _seen(text: str) -> str:
    """Signs that are no text are shown as what they are."""
    return visible(str(text))
