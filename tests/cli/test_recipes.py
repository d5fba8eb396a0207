"""``edgeresnet recipes`` and ``edgeresnet run NAME``, as users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeresnet.cli.app import app
from edgeresnet.errors import InputError
from edgeresnet.run import runner
from edgeresnet.run.recipe import Recipe
from edgeresnet.run.shipped import shipped_recipes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_recipes_are_listed_with_a_line_each() -> None:
    done = CliRunner().invoke(app, ["recipes"])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in shipped_recipes())
    assert "handwritten digits" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_recipe_is_copied_out_and_never_over_a_file() -> None:
    done = CliRunner().invoke(app, ["recipes", "quickstart", "-o", "mine.yaml"])
    assert "edgeresnet run mine.yaml" in done.stdout
    assert Path("mine.yaml").read_text() == shipped_recipes()["quickstart"].read_text()
    again = CliRunner().invoke(app, ["recipes", "resnet50_imagenet", "-o", "mine.yaml"])
    assert isinstance(again.exception, InputError)
    assert Path("mine.yaml").read_text() == shipped_recipes()["quickstart"].read_text()
    CliRunner().invoke(app, ["recipes", "quickstart"])
    assert Path("quickstart.yaml").is_file()
    lone = CliRunner().invoke(app, ["recipes", "-o", "other.yaml"])
    assert isinstance(lone.exception, InputError)


def test_schema_is_printed_as_json() -> None:
    done = CliRunner().invoke(app, ["recipes", "--schema"])
    assert json.loads(done.stdout)["properties"]["train"]["description"]


@pytest.mark.parametrize("file", [None, "name: own\ndata: digits\ntrain: {}\n"])
def test_run_takes_a_shipped_name_unless_a_file_has_it(
    monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    class BegunError(Exception):
        pass

    def begin(recipe: Recipe, *arguments: object, **options: object) -> None:
        raise BegunError(recipe.name)

    monkeypatch.setattr(runner, "run_recipe", begin)
    if file is not None:
        Path("quickstart").write_text(file)
    done = CliRunner().invoke(app, ["run", "quickstart"])
    assert isinstance(done.exception, BegunError)
    assert str(done.exception) == ("quickstart" if file is None else "own")
    unknown = CliRunner().invoke(app, ["run", "abacus"])
    assert isinstance(unknown.exception, InputError)
    assert "resnet50_imagenet" in unknown.exception.fix
