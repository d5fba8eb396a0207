"""The page of a run: what it tells, that it needs nothing else, and that strangers only write."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeresnet.report.page.charts import (
    accuracy_chart,
    distribution_chart,
    ladder_chart,
    latency_chart,
)
from edgeresnet.report.page.front_charts import front_charts
from edgeresnet.report.page.markdown import markdown
from edgeresnet.report.page.page import page
from tests.report.results import results, row, rung

STAGES = [{"stage": "01-train", "key": "k", "seconds": 57.26, "settings": {"epochs": 12}}]
HOSTILE = "</td><script>alert(1)</script>$x^2$ _y \x1b[31m"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_tells_what_the_results_tell() -> None:
    seen = Seen(page(results(), STAGES))
    for told in (
        "quickstart", "✓ Passed", "Every budget is met.", "one class for all", "max_drop", "0.005",
        "? undecided", "about 14,000 images would decide it", "onnx-int8", "no drop shown",
        "2.00x", "-0.0120 to 0.0060", "shirt", "equalize", "0.1500", "01-train", "57.3",
        "A processor", "edgeresnet compare PATH/a PATH/b", "not measured here: qnn-int8",
    ):  # fmt: skip
        assert told in seen.text, told
    assert seen.tags.count("svg") == 3
    # Every chart has its numbers.
    assert seen.text.count("The numbers") == 3


def test_the_fastest_precision_of_each_target_is_told() -> None:
    ratio = {"value": 0.9, "low": 0.85, "high": 0.95}
    times = {"p50_ms": 1.0, "p99_ms": 2.0, "runs": 100}
    judged = {
        "int8": "int8", "decision": "slower", "fastest": "bf16", "advised": "bf16",
        "target": "openvino", "device": "cpu",
        "precisions": [
            {"precision": "int8", "int8_speedup": None, "fastest": False, **times},
            {"precision": "bf16", "int8_speedup": ratio, "fastest": True, **times},
        ],
    }  # fmt: skip
    text = Seen(page(results(fastest={"openvino": judged}))).text
    assert "int8 is not faster on openvino's cpu: bf16 is" in text
    strange = results(fastest={"openvino": {**judged, "advised": "fp7"}})
    assert "fp7 is" in Seen(page(strange)).text


def test_a_doubt_of_several_models_is_told_once() -> None:
    told = results(doubts=["a: load: others", "b: load: others", "a: drift: slower"])
    seen = Seen(page(told))
    assert "a, b: load: others" in seen.text
    assert seen.text.split("The full record")[0].count("load: others") == 1


def point(arch: str, precision: str, top1: float | None, ms: float | None) -> dict[str, Any]:
    return {
        "name": f"{arch}-onnx-{precision}", "arch": arch, "target": "onnx", "precision": precision,
        "top1": top1, "top1_interval": None if top1 is None else [top1 - 0.01, top1 + 0.01],
        "drop": None, "drop_interval": None, "p50_ms": ms, "p50_interval_ms": None,
        "megabytes": 10.0, "energy_mj": None, "best_at": ["latency"] if precision == "int8" else [],
    }  # fmt: skip


def test_depths_are_drawn_against_each_cost_that_was_measured() -> None:
    points = [point("resnet18", p, 0.9, 1.0) for p in ("fp32", "int8")]
    points += [point("resnet34", p, 0.95, 2.0) for p in ("fp32", "int8")]
    left = [{"arch": "resnet50", "why": "not done when the 5 minutes were over"}]
    front = {"minutes": 5.0, "points": points, "unfinished": left, "energy": "no sensor"}
    html = page(results(front=front))
    seen = Seen(html)
    assert "Depth: accuracy against latency" in seen.text
    assert "Depth: accuracy against size" in seen.text
    assert "against energy" not in seen.text
    assert "not in the comparison: resnet50" in seen.text
    # In place of the chart that names every model.
    assert "Accuracy against latency" not in seen.text
    assert "1.00*" in seen.text


def test_depths_that_nothing_beats_have_a_star_in_the_chart_too() -> None:
    best = {**point("resnet18", "fp32", 0.9, 1.0), "best_at": ["latency"]}
    beaten = {**point("resnet34", "fp32", 0.8, 2.0), "best_at": ["size"]}
    front = {"minutes": None, "points": [best, beaten], "unfinished": [], "energy": "no sensor"}
    latency, size = (re.findall(r">(\d+\*?)</text>", c["svg"]) for c in front_charts(front))
    assert {"18*", "34"} <= {*latency}
    assert {"18", "34*"} <= {*size}


def test_depths_that_strangers_wrote_are_text_and_numbers_or_not_drawn() -> None:
    hostile = point(HOSTILE, "int8", 0.9, 1.0)
    points = [hostile, point("resnet34", "fp32", 7.0, 1e300), point("resnet50", "fp32", 0.5, -1.0)]
    front = {"minutes": None, "points": points, "unfinished": [], "energy": HOSTILE}
    seen = Seen(page(results(front=front)))
    assert "script" not in seen.tags
    # Of what has a size and a top-1 that can be.
    assert "Depth: accuracy against size" in seen.text
    assert "Depth: accuracy against latency" not in seen.text


def test_the_page_needs_nothing_else() -> None:
    html = page(results(), STAGES)
    seen = Seen(html)
    assert not {"script", "link", "iframe", "img", "object"}.intersection(seen.tags)
    # Inside the page: marks of the charts.
    assert all(link.startswith("#") for link in seen.links)
    assert not re.search(r"url\((?!#)", html)
    assert len(html.encode()) < 3_000_000


def test_identifiers_of_two_charts_differ() -> None:
    found = re.findall(r'\bid="([^"]+)"', page(results(), STAGES))
    drawn = [name for name in found if re.match(r"[mpC][0-9a-f]{8,}", name)]
    assert drawn
    assert len(set(drawn)) == len(drawn)


def test_what_strangers_wrote_is_text() -> None:
    told = results(
        rows=[row(HOSTILE, 2.0), row("onnx-int8", 1.0, change_text=HOSTILE)],
        verdict_text=HOSTILE, data=HOSTILE, recipe=HOSTILE, doubts=[HOSTILE],
        rungs=[rung(HOSTILE, 0.1), rung("ptq", 0.2)],
        environment={"cpu": HOSTILE, "versions": [HOSTILE]},
    )  # fmt: skip
    html = page(told, [{**STAGES[0], "settings": {HOSTILE: HOSTILE}}])
    seen = Seen(html)
    assert "script" not in seen.tags
    assert seen.text.count("<script>alert(1)</script>") > 8
    assert "\x1b" not in html
    text = markdown(told)
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\x1b" not in text


@pytest.mark.parametrize("value", [1e300, -1.0, 0.0, 1e-300])
def test_numbers_that_cannot_be_are_not_drawn(value: float) -> None:
    told = results(
        rows=[row("a", value), row("b", 1.0, top1=value), row("c", 1.0, p99_ms=None)],
        rungs=[rung("ptq", value), rung("qat", value)],
    )
    assert "01-train" in page(told, STAGES)


def test_nothing_is_drawn_of_nothing() -> None:
    assert accuracy_chart([row("a", 1.0)]) is None
    assert latency_chart([]) is None
    assert ladder_chart([rung("ptq", 0.1)]) is None
    bare = results(rows=[], budgets=[], rungs=[], verdict="not measured", baseline=None, rounds=0)
    assert "Not measured here" in Seen(page(bare)).text


def test_charts_are_whole_and_named() -> None:
    for svg in (
        accuracy_chart([row("_a & <b>", 1.0), row("$c$", 2.0)]),
        latency_chart([row("_a & <b>", 1.0)]),
        ladder_chart([rung("ptq", 0.1), rung("qat", 0.0)]),
    ):
        assert svg is not None
        assert 'role="img"' in svg
        root = ElementTree.fromstring(svg)  # noqa: S314 (drawn here)
        words = " ".join(text.strip() for text in root.itertext())
        assert "ms" in words or "lost" in words
        if "ladder" not in svg and "rung" not in svg:
            assert "_a & <b>" in words


def test_the_page_shows_all_timed_runs_where_they_are_kept() -> None:
    slow = [1.0] * 90 + [2.0] * 8 + [4.0, 9.0]
    told = results(rows=[row("onnx-fp32", 2.0), row("onnx-int8", 1.0, samples_ms=slow)])
    seen = Seen(page(told))
    assert seen.tags.count("svg") == 4
    assert "How long the runs took" in seen.text
    # The slowest run is there: nothing is left out.
    assert re.search(r"onnx-int8\s*100\s*1\.000\s*1\.000\s*1\.000\s*1\.000", seen.text)
    assert "9.000" in seen.text
    assert distribution_chart([row("onnx-fp32", 2.0)]) is None
    thousands = row("many", 1.0, samples_ms=[1.0 + k / 1e4 for k in range(20_000)])
    svg = distribution_chart([thousands])
    assert svg is not None
    assert len(svg) < 60_000
    assert len(page(results(rows=[thousands, thousands])).encode()) < 3_000_000


def test_markdown_has_the_tables() -> None:
    text = markdown(results())
    assert "### quickstart: ✓ Passed" in text
    assert "| onnx-int8 | 0.9700 | -0.0030 | -0.0120 to 0.0060 | 1.00 | 2.00 | 2.00x |" in text
    assert "| max\\_drop | 0.005 |" in text
    assert "? undecided" in text
    assert "| equalize | 0.9670 | 0.0030 |" in text


def test_results_of_older_versions_have_a_page() -> None:
    older: Any = results()
    for one in older["rows"]:
        for key in ("change_text", "changed_classes"):
            one.pop(key, None)
    for key in ("doubts", "rungs", "images_available", "unmeasured", "device_commands"):
        del older[key]
    assert "onnx-int8" in Seen(page(older)).text


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1280,900", "390,800"])
def test_a_browser_opens_it_without_a_complaint(size: str, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    path = tmp_path / "report.html"
    path.write_text(page(results(), STAGES), encoding="utf-8")
    picture = tmp_path / "page.png"
    ran = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}",
            f"--screenshot={picture}", path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in ran.stderr
    assert "Refused to" not in ran.stderr
    assert picture.stat().st_size > 10_000
