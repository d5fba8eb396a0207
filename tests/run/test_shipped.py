"""The recipes that come along are found in a checkout and in a wheel, and copied out."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.run import shipped
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.shipped import copy_recipe, recipe_file, shipped_recipes, summary
from tests.benchmarks.budget_looks import simulate
from tests.copies import REPOSITORY


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


# Validation images of what is known, and the share of them that is right in one network alone
# where nothing is lost: little of digits, more of a pruned and retrained network.
IMAGES = {"digits": 359, "fashion-mnist": 10_000, "imagenet": 50_000}
DISAGREE = {"digits": 0.02, "fashion-mnist": 0.03, "imagenet": 0.05}
PRUNED_DISAGREE = {"fashion-mnist": 0.08, "imagenet": 0.12}


@pytest.mark.parametrize("name", shipped_recipes())
def test_budgets_of_a_recipe_are_decided_by_its_data(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.data not in IMAGES:
        # How many images somebody's own folder has nobody knows: the recipe says what it takes.
        text = recipe_file(name).read_text()
        assert "images decide it" in text.split("budgets:")[1]
        return
    limits = {
        "budgets.max_drop": (recipe.budgets.max_drop, recipe.compare.limit, recipe.prune),
        "quantize.max_drop": (recipe.quantize.max_drop, None, None),
    }
    for key, (limit, fewer, pruned) in limits.items():
        if limit is not None:
            share = (DISAGREE if pruned is None else PRUNED_DISAGREE)[recipe.data]
            n = min(IMAGES[recipe.data], fewer or IMAGES[recipe.data])
            found = simulate(share / 2, share / 2, limit, n=n, runs=1000)
            assert (found.decisions == 1).mean() >= 0.88, key


def test_the_digits_are_as_many_as_recipes_count_on() -> None:
    assert len(open_dataset("digits", "val")) == IMAGES["digits"]
