"""The images of a task: labels are bound to a model's outputs by name, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.api.compare import compare
from edgeresnet.api.evaluate import evaluate
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from tests.class_folders import opens, reader_of, write_classes

CLOTHES = ("Trouser", "ankle-boot", "bag", "coat")


def val(tmp_path: Path, folders: Sequence[tuple[str, int]], count: int = 5) -> TaskContext:
    """Folders with the class that their images show, as training and validation images."""
    for part in ("train", "val"):
        write_classes(tmp_path / "photos" / part, {name: (i, count) for name, i in folders})
    return TaskContext(data=str(tmp_path / "photos"))


def test_evaluate_binds_labels_by_name_when_case_and_separators_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [("trouser", 0), ("Ankle_Boot", 1), ("bag", 2), ("Coat", 3)]
    context = val(tmp_path, folders)
    opens(monkeypatch, reader_of(CLOTHES, outputs=4))
    result = evaluate("m", context=context)
    assert result["top1"] == 1.0
    assert list(result["per_class"]) == ["trouser", "Ankle_Boot", "bag", "Coat"]


def test_evaluate_names_both_differences_when_a_class_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("pants", 0), ("ankle-boot", 1), ("bag", 2), ("coat", 3)])
    opens(monkeypatch, reader_of(CLOTHES, outputs=4))
    with pytest.raises(InputError, match="missing in the data: Trouser; unknown to m: pants"):
        evaluate("m", context=context)


def test_evaluate_binds_a_subset_by_name_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("ankle-boot", 1), ("coat", 3)])
    lines: list[str] = []
    opens(monkeypatch, reader_of(CLOTHES, outputs=4))
    context = TaskContext(data=context.data, on_step=lines.append)
    result = evaluate("m", context=context)
    assert result["top1"] == 1.0
    assert result["per_class"]["coat"] == 1.0
    assert any("no images of 2 of the 4 classes of m: Trouser, bag" in line for line in lines)


def test_evaluate_takes_the_data_sets_order_when_the_model_has_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("a", 0), ("b", 1), ("c", 2)])
    lines: list[str] = []
    opens(monkeypatch, reader_of(None, outputs=3))
    context = TaskContext(data=context.data, on_step=lines.append)
    assert evaluate("m", context=context)["top1"] == 1.0
    assert "m has no class names: classes by sorted folder name (a, b, c)" in lines


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("order", ["sorted", "natural"])
def test_evaluate_asks_for_the_order_when_folders_are_numbers_and_the_model_has_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, first: int
) -> None:
    names = [str(i) for i in range(first, first + 12)]
    shown = names if order == "natural" else sorted(names)
    context = val(tmp_path, [(name, i) for i, name in enumerate(shown)], 1)
    opens(monkeypatch, *[reader_of(None, outputs=12) for _ in range(3)])
    with pytest.raises(InputError, match="order is not known") as refused:
        evaluate("m", context=context)
    assert "--class-order" in refused.value.fix
    told = TaskContext(data=context.data, class_order=order)
    assert evaluate("m", context=told)["top1"] == 1.0
    # Names that somebody gave are names, also where they are numbers.
    opens(monkeypatch, reader_of(names, outputs=12))
    right = 1.0 if order == "natural" else (2 if first == 0 else 1) / 12
    assert evaluate("m", context=context)["top1"] == pytest.approx(right)


def test_evaluate_takes_the_names_of_a_file_when_the_model_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("a", 1), ("b", 0)])
    names = tmp_path / "names.txt"
    names.write_text("b\na\n")
    opens(monkeypatch, *[reader_of(None, outputs=2) for _ in range(2)])
    told = TaskContext(data=context.data, classes_path=names)
    assert evaluate("m", context=told)["top1"] == 1.0
    names.write_text("b\na\nc\n")
    with pytest.raises(InputError, match=re.escape("m has 2 outputs")):
        evaluate("m", context=told)


def test_evaluate_refuses_an_order_when_the_model_has_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("a", 0), ("b", 1)])
    opens(monkeypatch, reader_of(("a", "b"), outputs=2))
    with pytest.raises(InputError, match="--class-order has no effect: m has class names"):
        evaluate("m", context=TaskContext(data=context.data, class_order="natural"))


def test_compare_binds_each_model_when_their_orders_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("a", 0), ("b", 1), ("c", 2)])
    first, second = reader_of(("a", "b", "c"), outputs=3), reader_of(("C", "A", "B"), outputs=3)
    answer = first.session.run
    # Output 0 is "C", and so on.
    monkeypatch.setattr(second.session, "run", lambda batch: answer(batch)[:, [2, 0, 1]])
    opens(monkeypatch, first, second)
    rows = compare(["a", "b"], rounds=2, context=context)["rows"]
    assert [row["top1"] for row in rows] == [1.0, 1.0]
    assert rows[1]["agreement"] == 1.0


@pytest.mark.parametrize("classes", [None, ("a", "b", "c")])
def test_evaluate_says_so_when_top1_is_not_above_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...] | None
) -> None:
    # On uneven classes, a model that always answers the most frequent one is at chance too.
    for part in ("train", "val"):
        write_classes(tmp_path / part, {"a": (0, 40), "b": (0, 5), "c": (0, 5)})
    lines: list[str] = []
    opens(monkeypatch, reader_of(classes, outputs=3))
    evaluate("m", context=TaskContext(data=str(tmp_path), on_step=lines.append))
    (doubt,) = [line for line in lines if "not clearly above chance" in line]
    first = doubt.partition("look at ")[2]
    assert first.startswith("the order of the classes" if classes is None else "the preprocessing")
    assert "; edgeresnet adopt CKPT --data SPEC -o CKPT finds" in doubt


def test_compare_says_which_model_is_not_above_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "val", {"a": (0, 12), "b": (1, 12), "c": (2, 12)})
    lines: list[str] = []
    models = [reader_of(("a", "b", "c"), outputs=3, name=name) for name in "mn"]
    monkeypatch.setattr(models[1].session, "run", lambda batch: np.eye(3)[[0] * len(batch)])
    opens(monkeypatch, *models)
    compare(["m", "n"], rounds=2, context=TaskContext(data=str(tmp_path), on_step=lines.append))
    (doubt,) = [line for line in lines if "not clearly above chance" in line]
    assert doubt.startswith("n: top-1 0.3333 (")


def test_evaluate_is_silent_when_top1_is_above_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = val(tmp_path, [("a", 0), ("b", 1), ("c", 2)])
    lines: list[str] = []
    opens(monkeypatch, reader_of(("a", "b", "c"), outputs=3))
    evaluate("m", context=TaskContext(data=context.data, on_step=lines.append))
    assert lines == []
