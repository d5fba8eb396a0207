"""Recipes load, and say everything that is wrong at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeresnet.errors import InputError
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import load_recipe
from tests.copies import REPOSITORY

RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))


def test_all_recipes_ship() -> None:
    assert {path.stem for path in RECIPES} == {
        "quickstart", "resnet18_fashion_mnist", "resnet50_imagenet", "resnet50_finetune_folder",
        "resnet18_fashion_mnist_pruned_int8", "resnet50_imagenet_pruned_int8",
        "resnet50_jetson_int8", "resnet18_snapdragon_int8", "resnet18_intel_npu_int8",
        "depth_front",
    }  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_load_recipe_succeeds_when_it_is_shipped(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.train is not None or recipe.model.weights is not None


def test_load_recipe_lists_every_fault_when_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("data: 3.5\nexport: {targets: [abacus]}\ntrain: {epohcs: 2, lr: fast}\nx: 1\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path, check=fault_lines)
    told = caught.value.cause
    parts = (
        "data:",
        "export.targets:",
        "train.epohcs: unknown key (is epochs meant?)",
        "train.lr:",
    )
    assert all(part in told for part in (*parts, "x: unknown key", "name: missing"))


def test_load_recipe_takes_overrides_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ndata: digits\nseed: 7\ntrain: {epochs: 2}\n")
    recipe = load_recipe(path, ["train.epochs=5", "budgets.max_drop=0.02", "export.batch=1:4:8"])
    assert recipe.train is not None
    assert (recipe.train.epochs, recipe.train.seed, recipe.quantize.train.seed) == (5, 7, 7)
    assert recipe.budgets.max_drop == 0.02
    assert recipe.export.batch == "1:4:8"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "is not YAML"),
        ("- a", "has no keys"),
        ("name: r\ndata: digits", "train: missing"),
        ("name: r\ndata: digits\ntrain: {batch_size: 1}", "batch_size 1 is too small"),
    ],
)
def test_load_recipe_refuses_when_the_file_is_unusable(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        load_recipe(path)


def test_prune_section_takes_recovery_defaults_and_one_budget(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ndata: digits\ntrain: {}\nprune: {macs: 0.5, train: {epochs: 3}}\n")
    recipe = load_recipe(path, ["seed=4"])
    assert recipe.prune is not None
    assert (recipe.prune.train.epochs, recipe.prune.train.distill) == (3, 0.5)
    assert recipe.prune.seed == 4
    with pytest.raises(InputError, match="prune: pruning needs one budget"):
        load_recipe(path, ["prune.latency=0.5"])


def test_settings_of_one_section_are_refused_together(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\ndata: digits\ntrain: {lr: -1, batch_size: 1}\n"
        "prune: {macs: 2, floor: 3, images: 0}\nquantize: {max_drop: -3, weight_bits: 3}\n"
    )
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    told = caught.value.cause
    parts = ("lr -1", "batch_size 1", "budget of 2", "floor 3", "images 0", "max_drop -3", "bits 3")
    assert all(part in told for part in parts), told


BEFORE = "name: r\ndata: digits\ntrain: {}\n"
NAMES = (
    "../x", "..", ".", "/x", "a/b", "..\\x", "C:x", "CON", "nul.txt", "x.", "x ", " ", "n" * 300,
    "a\tb", "a\u202eb", "a\x9bb",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:12])
def test_load_recipe_refuses_a_name_that_leaves_its_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BEFORE)
    with pytest.raises(InputError, match="name: name ") as caught:
        load_recipe(path, [f"name={json.dumps(name)}"])
    assert caught.value.cause.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (f"seed={2**64}", "seed 18446744073709551616 is too large"),
        ("image_size=0", "image_size 0 is too small"),
        ("image_size=1000000000", "image_size 1000000000 is too large"),
        ("compare.rounds=0", "rounds 0 is too small"),
        ("compare.threads=1000000000", "threads 1000000000 is too large"),
        ("budgets.max_drop=.nan", "max_drop '.nan' is not a number"),
        ("budgets.max_p99_ms=1e999", "max_p99_ms inf is not a finite number"),
        ("export.targets=[]", "targets is empty"),
        (f"export.targets=[{','.join('a' * 100)}]", "targets has too many values"),
        ("export.batch='" + "9" * 9000 + "'", "batch 9{60}… is not a size"),
        ("train.lr=1e300", "is too large"),
        ("train.epochs=" + "9" * 24, "is too large"),
        ("inputs.mean='1e-999999999'", "does not normalize"),
        ("inputs.mean='1e9999'", "does not normalize"),
        ("inputs.std=1e-300", "does not normalize"),
        ("inputs.resize=" + "9" * 24, "resize 9+ is not known"),
        ("inputs.resize=-5", "resize -5 is not known"),
        ("class_order=" + "v" * 9000, "class_order v{60}… is not known"),
        ("k" * 9000 + "=1", "k{60}…: unknown key"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_load_recipe_refuses_what_no_run_can_be(tmp_path: Path, setting: str, words: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BEFORE)
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(path, [setting])
    assert len(caught.value.cause) < 500


def test_load_recipe_lists_only_some_faults_when_there_are_hundreds(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BEFORE + "".join(f"k{i}: 1\n" for i in range(400)))
    with pytest.raises(InputError, match=r"400 fault\(s\)") as caught:
        load_recipe(path)
    assert caught.value.cause.count("\n") == 31
    assert "and 370 more" in caught.value.cause


def test_load_recipe_refuses_by_size_before_it_parses(tmp_path: Path) -> None:
    with (tmp_path / "r.yaml").open("wb") as file:
        file.write(b"#")
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"larger than 0.25 MiB"):
        load_recipe(tmp_path / "r.yaml")
