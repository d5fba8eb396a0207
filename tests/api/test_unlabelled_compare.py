"""Models compared on images without labels: agreement and latency, and no top-1."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from edgeresnet.api.compare import compare
from edgeresnet.device.session import Opened
from edgeresnet.errors import InputError, MissingError
from edgeresnet.progress import TaskContext
from edgeresnet.remote.images import data_parcel
from edgeresnet.report.tables import budget_lines, compare_table
from edgeresnet.run.device_commands import device_commands
from edgeresnet.run.preflight import check_run
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.settings.measuring import Budgets
from tests.class_folders import opens, reader_of, write_classes

COUNT = 50


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images that show class 0 to 4, directly in ``val`` and ``train``."""
    for part in ("train", "val"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for i in range(COUNT):
            image = Image.new("RGB", (8, 8), (i % 5 * 20,) * 3)
            image.save(tmp_path / "photos" / part / f"{i:02}.png")
    return tmp_path / "photos"


def confused(model: Opened, wrong: int) -> Opened:
    """The model with another answer to so many images."""
    session, seen = model.session, [0]
    own: Callable[[np.ndarray], np.ndarray] = session.function  # type: ignore[attr-defined]

    def answer(batch: np.ndarray) -> np.ndarray:
        logits = own(batch)
        for i in range(len(logits)):
            if seen[0] < wrong:
                logits[i] = np.roll(logits[i], 1)
            seen[0] += 1
        return logits

    session.function = answer  # type: ignore[attr-defined]
    return model


def result_of(
    monkeypatch: pytest.MonkeyPatch, photos: Path, *models: Opened, budgets: Budgets | None = None,
    **context: Any,
) -> Any:  # fmt: skip
    opens(monkeypatch, *models)
    paths = [f"{model.name}.onnx" for model in models]
    told = TaskContext(data=str(photos), **context)
    return compare(paths, budgets, rounds=2, context=told)


def test_compare_gives_agreement_without_labels(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = reader_of(None, outputs=5, name="a"), confused(reader_of(None, outputs=5, name="b"), 4)
    limits = Budgets(max_disagreement=0.1)
    result = result_of(monkeypatch, photos, *models, budgets=limits)
    first, second = result["rows"]
    assert (first["agreement"], second["agreement"]) == (1.0, (COUNT - 4) / COUNT)
    wanted = binomtest(COUNT - 4, COUNT).proportion_ci(method="wilson")
    assert second["agreement_interval"] == pytest.approx([wanted.low, wanted.high])
    for row in result["rows"]:
        assert row["n"] == COUNT
        for key in ("top1", "top5", "top1_interval", "top1_difference"):
            assert row[key] is None
        assert row["p50_ms"] > 0
    (budget,) = result["budgets"]
    assert (budget["name"], budget["value"]) == ("max_disagreement", pytest.approx(0.08))
    assert (budget["low"], budget["high"]) == pytest.approx((1 - wanted.high, 1 - wanted.low))
    assert (budget["decision"], result["verdict"]) == ("undecided", "pass")
    json.dumps(result, allow_nan=False)
    assert compare_table(result).row_count == 2
    assert budget_lines(result)[0].endswith("undecided, met")


def test_compare_binds_outputs_by_name_when_nothing_else_does(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c", "d", "e")
    models = reader_of(names, outputs=5), reader_of(names[1:] + names[:1], outputs=5, name="n")
    # Output i of the second is called as output i + 1 of the first, and answers to class i.
    assert result_of(monkeypatch, photos, *models)["rows"][1]["agreement"] == 0.0
    with pytest.raises(InputError, match="n has other classes than m"):
        result_of(monkeypatch, photos, models[0], replace(models[1], classes=tuple("abcdx")))
    lines: list[str] = []
    result_of(monkeypatch, photos, models[0], replace(models[1], classes=None),
              on_step=lines.append)  # fmt: skip
    assert any("n has no class names" in line for line in lines)


def test_compare_refuses_when_the_models_have_other_numbers_of_outputs(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = reader_of(None, outputs=5), reader_of(None, outputs=6, name="n")
    with pytest.raises(InputError, match="n has 6 outputs, and m has 5"):
        result_of(monkeypatch, photos, *models)


@pytest.mark.parametrize(
    ("budgets", "context", "told"),
    [(Budgets(max_drop=0.1), {}, "--max-drop is of top-1"),
     (None, {"class_order": "natural"}, "--class-order has no effect"),
     (None, {"classes_path": Path("names.txt")}, "--classes has no effect")],
)  # fmt: skip
def test_compare_refuses_what_needs_labels(
    photos: Path, monkeypatch: pytest.MonkeyPatch, budgets: Budgets | None,
    context: Mapping[str, Any], told: str,
) -> None:  # fmt: skip
    with pytest.raises(InputError, match=told):
        result_of(monkeypatch, photos, reader_of(None), reader_of(None, name="n"),
                  budgets=budgets, **context)  # fmt: skip


def test_compare_binds_disagreement_with_labels_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "val", {"a": (0, 10), "b": (1, 10)})
    models = [reader_of(("a", "b"), outputs=2), reader_of(("a", "b"), outputs=2, name="n")]
    limits = Budgets(max_drop=1, max_disagreement=0.05)
    result = result_of(monkeypatch, tmp_path, models[0], confused(models[1], 5), budgets=limits)
    assert [b["name"] for b in result["budgets"]] == ["max_drop", "max_disagreement"]
    assert result["budgets"][1]["value"] == pytest.approx(0.25)
    assert (result["budgets"][1]["decision"], result["verdict"]) == ("missed", "fail")


def recipe_of(photos: Path, *overrides: str) -> Recipe:
    (photos.parent / "w.pt").touch()
    path = photos.parent / "recipe.yaml"
    path.write_text(
        f"name: r\ndata: {photos}\nmodel: {{weights: {photos.parent / 'w.pt'}}}\n"
        "export: {targets: [onnx], precisions: [fp32, int8]}\n"
    )
    return load_recipe(path, overrides)


def test_a_run_takes_images_without_labels_when_it_trains_nothing(photos: Path) -> None:
    recipe = recipe_of(photos, "budgets.max_disagreement=0.1", "quantize.max_disagreement=0.1")
    checked = check_run(recipe, photos.parent / "run", ".stages")
    assert (len(checked.train_set), checked.val_set.classes) == (COUNT, ())


@pytest.mark.parametrize(
    ("override", "told"),
    [("train.epochs=1", "data: .*has no labels"), ("prune.macs=0.5", "data: .*has no labels"),
     ("budgets.max_drop=0.1", "budgets.max_drop: .*needs labels"),
     ("quantize.max_drop=0.1", "quantize: .*needs labels"),
     ("quantize.train.distill=0", "quantize: .*needs labels"),
     ("class_order=natural", "class_order: .*no effect")],
)  # fmt: skip
def test_a_run_refuses_before_its_first_step_what_needs_labels(
    photos: Path, override: str, told: str
) -> None:
    with pytest.raises((InputError, MissingError), match=told):
        check_run(recipe_of(photos, override), photos.parent / "run", ".stages")


def test_the_commands_for_the_device_need_no_labels_when_there_are_none(photos: Path) -> None:
    recipe = recipe_of(photos, "budgets.max_disagreement=0.1")
    bundles = {f"tensorrt-{p}": photos.parent / f"tensorrt-{p}" for p in ("fp32", "int8")}
    several = device_commands(recipe, bundles, {"tensorrt": "no GPU"}, labelled=False)
    assert "--max-disagreement 0.1" in several[-1]
    single = device_commands(recipe, dict([*bundles.items()][1:]), {"tensorrt": "no GPU"},
                             labelled=False)  # fmt: skip
    assert not any("evaluate" in line for line in single)


def test_on_another_machine_images_without_labels_stay_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no labels"):
        data_parcel(str(photos), None)
    parcel, name = data_parcel(str(photos), 7, unlabelled=True)
    assert name == "photos"
    assert len(parcel.files) == 7
    assert all(Path(there).parent == Path("photos/val") for there in parcel.files)
    # In a file of paths they may lie in folders, which are no classes.
    (photos / "list.csv").write_text("\n".join(f"val/{i:02}.png" for i in range(COUNT)))
    parcel, name = data_parcel(str(photos / "list.csv"), None, unlabelled=True)
    assert all(len(Path(there).parts) == 3 for there in parcel.files)
