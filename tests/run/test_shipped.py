"""The recipes that come along are found in a checkout and in a wheel, and copied out."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.errors import InputError
from edgeresnet.run import shipped
from edgeresnet.run.shipped import copy_recipe, recipe_file, shipped_recipes, summary
from tests.conftest import REPOSITORY


def test_checkout_reads_its_own_recipes_when_a_copy_is_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "edgeresnet"
    for folder in (tmp_path / "recipes", package / "recipes"):
        folder.mkdir(parents=True)
        (folder / "one.yaml").write_text("# One.\n")
    monkeypatch.setattr(shipped, "PACKAGE", package)
    # Another package's folder of that name, beside an installed one.
    assert shipped_recipes() == {"one": package / "recipes" / "one.yaml"}
    (tmp_path / "pyproject.toml").touch()
    assert shipped_recipes() == {"one": tmp_path / "recipes" / "one.yaml"}


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_every_recipe_begins_with_a_line_on_what_it_does(path: Path) -> None:
    assert path.parent == REPOSITORY / "recipes"
    assert path.read_text().startswith("# ")
    assert summary(path).endswith(".")


def test_file_wins_when_it_has_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file("quickstart") == REPOSITORY / "recipes" / "quickstart.yaml"
    Path("quickstart").mkdir()
    assert recipe_file("quickstart") == REPOSITORY / "recipes" / "quickstart.yaml"
    Path("quickstart").rmdir()
    Path("quickstart").touch()
    assert recipe_file("quickstart") == Path("quickstart")


def test_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="recipe abacus does not exist") as caught:
        recipe_file("abacus")
    assert all(name in caught.value.fix for name in shipped_recipes())


def test_copy_is_refused_when_something_is_there(tmp_path: Path) -> None:
    copy_recipe("quickstart", tmp_path / "mine.yaml")
    before = (tmp_path / "mine.yaml").read_text()
    assert before == shipped_recipes()["quickstart"].read_text()
    with pytest.raises(InputError, match="is there already"):
        copy_recipe("resnet50_imagenet", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == before
    with pytest.raises(InputError, match="is a file"):
        copy_recipe("quickstart", tmp_path / "mine.yaml" / "other.yaml")
    copy_recipe("quickstart", tmp_path / "nowhere" / "mine.yaml")
    assert (tmp_path / "nowhere" / "mine.yaml").read_text() == before
    with pytest.raises(InputError, match="no recipe abacus"):
        copy_recipe("abacus", tmp_path / "other.yaml")
