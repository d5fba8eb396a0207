"""Data for training and calibration: bound to the checkpoint's classes by name, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from tests.class_folders import write_classes


def of_classes(
    classes: Sequence[str], data: str | None = None, *, known: bool = True
) -> Checkpoint:
    widths = Widths(8, (), ())
    return Checkpoint(
        "resnet18",
        "small",
        widths,
        tuple(classes),
        InputSpec(8),
        {},
        data=data,
        classes_known=known,
    )


def photos(root: Path, *folders: str) -> TaskContext:
    for part in ("train", "val"):
        write_classes(root / "photos" / part, {name: (0, i + 1) for i, name in enumerate(folders)})
    return TaskContext(data=str(root / "photos"))


def test_open_splits_for_gives_labels_the_checkpoints_order_when_the_folders_have_another(
    tmp_path: Path,
) -> None:
    context = photos(tmp_path, "Bag", "coat")
    checkpoint, *parts = open_splits_for(of_classes(["coat", "bag"]), context)
    assert checkpoint.classes == ("coat", "Bag")
    for part in parts:
        assert part.classes == ("coat", "Bag")
        assert part.labels.tolist() == [1, 0, 0]


def test_open_splits_for_refuses_when_a_class_has_no_folder_or_another_name(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="missing in the data: coat"):
        open_splits_for(of_classes(["bag", "coat", "shoe"]), photos(tmp_path / "1", "bag", "shoe"))
    with pytest.raises(InputError, match="missing in the data: coat; unknown to the model: jacket"):
        open_splits_for(of_classes(["bag", "coat"]), photos(tmp_path / "2", "bag", "jacket"))


def test_open_splits_for_keeps_the_folders_order_when_the_checkpoint_has_no_names(
    tmp_path: Path,
) -> None:
    context = photos(tmp_path, "a", "b")
    checkpoint, train_set, _ = open_splits_for(of_classes(["0", "1"], known=False), context)
    assert (checkpoint.classes, checkpoint.classes_known) == (("a", "b"), True)
    assert train_set.labels.tolist() == [0, 1, 1]


def test_open_splits_for_takes_wordnets_order_when_the_model_names_imagenets_classes(
    tmp_path: Path,
) -> None:
    names = ["tench", *(f"class {i}" for i in range(998)), "toilet tissue"]
    folders = [f"n{i:08d}" for i in range(1000)]
    for part in ("train", "val"):
        for folder in folders:
            (tmp_path / part / folder).mkdir(parents=True)
            (tmp_path / part / folder / "1.jpg").touch()
    checkpoint, train_set, _ = open_splits_for(of_classes(names), TaskContext(data=str(tmp_path)))
    assert list(checkpoint.classes) == folders
    assert train_set.labels.tolist() == list(range(1000))


def test_open_splits_for_binds_numbers_by_name_when_somebody_gave_them(tmp_path: Path) -> None:
    context = photos(tmp_path, "0", "1", "10", "2", *"3456789")
    given = of_classes([str(i) for i in range(11)])
    checkpoint, train_set, _ = open_splits_for(given, context)
    assert checkpoint.classes == given.classes
    assert sorted(set(train_set.labels.tolist())) == list(range(11))
    assert (train_set.labels == 10).sum() == 3  # the third folder's images
    with pytest.raises(InputError, match="order is not known"):
        open_splits_for(of_classes(given.classes, known=False), context)


def test_open_splits_for_takes_the_given_names_when_the_checkpoint_remembers_others(
    tmp_path: Path,
) -> None:
    context = photos(tmp_path, "a", "b")
    names = tmp_path / "names.txt"
    names.write_text("b\na\n")
    told = replace(context, classes_path=names)
    checkpoint, train_set, _ = open_splits_for(of_classes(["a", "b"], context.data), told)
    assert checkpoint.classes == ("b", "a")
    assert train_set.labels.tolist() == [1, 0, 0]
