"""A run's results for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeresnet.report.page.page import WORDS, budget_view, facts, row_view, rung_view
from edgeresnet.untrusted import visible


def markdown(results: Mapping[str, Any]) -> str:
    """Verdict, budgets, models and rungs as GitHub's Markdown; see `page.page`."""
    title = results.get("recipe") or f"comparison on {results['data']}"
    word = WORDS.get(results["verdict"], "Not measured here")
    parts = [
        f"### {_cell(title)}: {word}",
        _cell(results["verdict_text"]),
        _cell(" · ".join(facts(results))),
    ]
    if results["budgets"]:
        views = map(budget_view, results["budgets"])
        rows = [[v["name"], v["limit"], v["value"], v["of"], v["decision"]] for v in views]
        parts.append(_table(["budget", "limit", "measured", "of", "decided"], rows))
    if results["rows"]:
        models = [row_view(row, results["baseline"]) for row in results["rows"]]
        keys = ("name", "top1", "difference", "difference_interval", "p50", "p99", "speedup")
        columns = ["model", "top-1", "difference", "95 % interval", "p50 ms", "p99 ms", "speed-up"]
        parts.append(_table(columns, ([view[key] for key in keys] for view in models)))
        parts += [f"- {_cell(v['name'])}: {_cell(v['told'])}" for v in models if v["told"]]
    if len(results.get("rungs", ())) > 1:
        rungs = map(rung_view, results["rungs"])
        told = ("method", "top1", "drop", "drop_interval", "agreement", "seconds")
        columns = ["rung", "top-1", "lost", "95 % interval", "same answer", "seconds"]
        parts.append(_table(columns, ([view[key] for key in told] for view in rungs)))
    return "\n\n".join(parts) + "\n"


def _table(columns: list[str], rows: Iterable[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Text that neither ends its cell nor becomes a tag, a link or a mention."""
    text = visible(text)
    for sign in "\\`*_[]<>|@#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
