"""``edgeresnet report``, as users meet it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from edgeresnet.cli.app import app
from edgeresnet.errors import InputError, MissingError
from edgeresnet.run import report_page
from tests.report.results import results


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / ".stages").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results()))
    record = {"stage": "01-train", "key": "k", "seconds": 57.26, "settings": {"epochs": 12}}
    (folder / ".stages" / "01-train.json").write_text(json.dumps(record))
    (folder / ".stages" / "02-prune.json").write_text("{")
    (folder / ".stages" / "02-prune.failed.json").write_text(json.dumps(record))
    return folder


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_a_run_gets_its_page(run_dir: Path, tmp_path: Path) -> None:
    done = report(run_dir)
    assert done.exit_code == 0, done.exception
    assert "report.html" in done.stderr
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert html.count("01-train") == 1
    assert "57.3" in html
    assert report(run_dir, "-o", tmp_path / "other.html", "--quiet").stderr == ""
    assert (tmp_path / "other.html").read_text(encoding="utf-8") == html


def test_a_comparison_gets_one_too(tmp_path: Path) -> None:
    path = tmp_path / "compared.json"
    told = results()
    for key in ("recipe", "rungs", "unmeasured", "device_commands"):
        del told[key]
    path.write_text(json.dumps(told))
    assert report(path).exit_code == 0
    assert "comparison on digits" in (tmp_path / "compared.html").read_text(encoding="utf-8")


def test_markdown_is_printed_and_nothing_written(run_dir: Path) -> None:
    done = report(run_dir, "--markdown")
    assert done.stdout.startswith("### quickstart: ✓ Passed")
    assert not (run_dir / "report.html").exists()
    refused = report(run_dir, "--markdown", "-o", "x.md").exception
    assert isinstance(refused, InputError)
    assert "so -o has no effect" in refused.cause


def changed(index: int, image: str) -> dict[str, object]:
    answers = {"onnx-fp32": "3", "onnx-int8": "8"}
    return {"image": image, "index": index, "label": "3", "answers": answers}


def test_images_whose_answer_changed_are_shown(run_dir: Path) -> None:
    told = results(changed_images=[changed(7, "digits/val/7"), changed(2, "digits/val/2")])
    (run_dir / "results.json").write_text(json.dumps(told))
    assert report(run_dir).exit_code == 0
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "digits/val/7" in html
    assert "data:image/png" not in html
    assert report(run_dir, "--data", "digits").exit_code == 0
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 2
    for other in (["--data", "digits", "--limit", "5"], ["--data", "fashion-mnist"]):
        refused = report(run_dir, *other).exception
        assert isinstance(refused, InputError)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "has no results.json"),
        ("", "is damaged"),
        ("[1]", "is damaged"),
        (json.dumps(results(rows=[{"name": "a"}])), "is damaged"),
        (json.dumps(results(rungs=[{"method": "ptq", "drop": "much"}])), "is damaged"),
        (json.dumps(results(verdict_text=None)), "is damaged"),
    ],
)
def test_what_is_no_result_is_refused(run_dir: Path, content: str | None, cause: str) -> None:
    path = run_dir / "results.json"
    path.unlink() if content is None else path.write_text(content)
    refused = report(run_dir).exception
    assert isinstance(refused, InputError)
    assert cause in refused.cause
    assert "compare --json" in refused.fix
    assert not (run_dir / "report.html").exists()


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused = report(tmp_path / "none").exception
    assert isinstance(refused, InputError)
    assert "does not exist" in refused.cause


def test_packages_that_are_not_here_are_named(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "find_spec", lambda name: None)
    refused = report(run_dir).exception
    assert isinstance(refused, MissingError)
    assert "jinja2 and matplotlib" in refused.cause
    assert report(run_dir, "--markdown").exit_code == 0


def test_fonts_are_listed_in_our_cache_and_not_in_the_home_folder(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert report(run_dir).exit_code == 0
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "cache" / "edgeresnet" / "matplotlib")
