"""What a run would do, said without doing it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeresnet.cli.app import app
from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.files.ranks import Rank
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.run import dry_run
from edgeresnet.run.dry_run import plan_run
from edgeresnet.run.front_plan import plan_front
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.runner import run_recipe
from edgeresnet.run.shipped import shipped_recipes
from tests.class_folders import write_classes
from tests.small_checkpoints import SLIM, make_checkpoint

QUICK = [
    "train.epochs=2",
    "train.batch_size=64",
    "limit=200",
    "compare.rounds=10",
    "export.targets=[onnx]",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As recipes for images of one's own describe it: DIR/train/CLASS and DIR/val/CLASS."""
    root = tmp_path_factory.mktemp("photos")
    for split, images in (("train", 6), ("val", 2)):
        write_classes(root / split, {name: (i, images) for i, name in enumerate("abcd")})
    return root


# Of the shipped ones those that have every kind of stage; test_preflight.py asks of all.
BY_DEFAULT = (
    "depth_front",
    "quickstart",
    "resnet18_intel_npu_int8",
    "resnet50_imagenet_pruned_int8",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in BY_DEFAULT else [pytest.mark.slow])
        for name in shipped_recipes()
    ],
)
def test_every_recipe_passes_a_dry_run_on_a_folder_of_its_layout(
    name: str, photos: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(name, [f"data={photos}"])
    plan = (plan_front if recipe.front else plan_run)(recipe, tmp_path / "run")
    assert (plan["train_images"], plan["val_images"], plan["classes"]) == (24, 8, 4)
    stages = [stage["stage"] for stage in plan["stages"]]
    assert stages[0].endswith("01-train")
    assert stages[-1].endswith("compare")
    assert any("04-export/" in stage for stage in stages)
    trained = [stage for stage in plan["stages"] if stage["steps"] is not None]
    assert all((stage["memory_bytes"] or 0) > 2**20 for stage in trained)
    assert not (tmp_path / "run").exists()


def test_plan_names_the_stages_that_the_run_then_has(tmp_path: Path) -> None:
    save_checkpoint(make_checkpoint(size=8, widths=SLIM), tmp_path / "slim.pt")
    slim = [f"model={{weights: {tmp_path / 'slim.pt'}}}", "image_size=8", "compare.rounds=2"]
    recipe = load_recipe("quickstart", [*QUICK, *slim, "quantize.method=ptq"])
    plan = plan_run(recipe, tmp_path / "run")
    run_recipe(recipe, tmp_path / "run")
    records = sorted(path.stem for path in (tmp_path / "run" / ".stages").glob("*.json"))
    planned = sorted(
        stage["stage"].replace("/", "-")
        for stage in plan["stages"]
        if stage["stage"] != "05-compare"
    )
    assert planned == [name for name in records if name != "05-compare"]
    made = sorted(path.name for path in (tmp_path / "run" / "04-export").iterdir())
    assert made == sorted(s["stage"].split("/")[1] for s in plan["stages"] if "/" in s["stage"])
    steps = next(s["steps"] for s in plan["stages"] if s["stage"] == "01-train")
    # Both splits are limited: 200 images, 64 a step, in even parts.
    assert steps == 2 * 4


def test_plan_counts_pruning_iterations_and_the_teacher(photos: Path, tmp_path: Path) -> None:
    told = [f"data={photos}", "prune.train.batch_size=8", "prune.train.epochs=2"]
    plan = plan_run(load_recipe("resnet50_imagenet_pruned_int8", told), tmp_path / "run")
    stages = {stage["stage"]: stage for stage in plan["stages"]}
    assert stages["02-prune"]["steps"] == 2 * 2 * 3
    assert "03-quantize-dense" in stages
    alone = ["prune.train.distill=0"]
    without = plan_run(load_recipe("resnet50_imagenet_pruned_int8", told + alone), tmp_path / "run")
    smaller = {s["stage"]: s["memory_bytes"] or 0 for s in without["stages"]}["02-prune"]
    teacher = (stages["02-prune"]["memory_bytes"] or 0) - smaller
    assert teacher == pytest.approx(4 * 23.5e6, rel=0.01)


def test_plan_refuses_what_the_run_refuses(tmp_path: Path) -> None:
    wrong: list[tuple[list[str], type[EdgeResNetError]]] = [
        (["data=nowhere"], InputError),
        (["train.distill=0.5"], InputError),
        (["export.targets=[onnx,abacus]"], InputError),
        (["train.precision=fp16"], MissingError),
    ]
    for told, error in wrong:
        recipe = load_recipe("quickstart", told)
        with pytest.raises(error) as planned:
            plan_run(recipe, tmp_path / "run")
        with pytest.raises(error) as run:
            run_recipe(recipe, tmp_path / "run")
        assert str(planned.value) == str(run.value)


def test_command_prints_a_table_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = [argument for one in QUICK for argument in ("--set", one)]
    done = CliRunner().invoke(app, ["run", "quickstart", "--dry-run", *told, "--json", "plan.json"])
    assert done.exit_code == 0, done.output
    assert "What a run of quickstart would do" in done.output
    assert "onnx-int8: writes" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert json.loads(Path("plan.json").read_text())["stages"][0]["stage"] == "01-train"


def test_plan_says_the_memory_of_each_of_several_processes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("resnet50_finetune_folder", [f"data={photos}", "train.batch_size=64"])

    def memory() -> int:
        return plan_run(recipe, tmp_path / "run")["stages"][0]["memory_bytes"] or 0

    alone = memory()
    monkeypatch.setattr(dry_run, "this_rank", lambda: Rank(0, 8))
    # Weights, gradients and moments are whole in each; of a batch there is an eighth.
    assert alone / 8 < memory() < alone / 3
