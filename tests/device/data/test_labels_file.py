"""A file of path and label is a data set; what is unclear in it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeresnet.api.evaluate import evaluate
from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from tests.class_folders import opens, reader_of, write_classes


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty images of class 0, then as many of class 1."""
    write_classes(tmp_path, {"img": (0, 40), "more": (1, 40)})
    return tmp_path


def labels() -> list[tuple[str, str]]:
    return [(f"{place}/{i}.png", label) for place, label in (("img", "cat"), ("more", "dog"))
            for i in range(40)]  # fmt: skip


@pytest.mark.parametrize(
    "form", ["plain.csv", "headed.CSV", "tabs.tsv", "list.json", "object.json"]
)
def test_labels_are_read_in_every_form_and_shared_out_by_name(images: Path, form: str) -> None:
    rows = labels()
    path = images / form
    if form.endswith("json"):
        content = [{"path": p, "label": c} for p, c in rows] if form == "list.json" else dict(rows)
        path.write_text(json.dumps(content))
    else:
        separator = "\t" if form.endswith("tsv") else ","
        if form.startswith("headed"):
            rows = [("filename", "label"), *rows]
        path.write_text("\n".join(separator.join(row) for row in rows))
    train, val = (open_dataset(str(path), split) for split in ("train", "val"))
    assert train.classes == val.classes == ("cat", "dog")
    assert len(train) + len(val) == 80
    assert 4 < len(val) < 30
    for i in range(len(val)):
        assert val.file_name(i).startswith("img" if val.labels[i] == 0 else "more")


def test_split_column_says_which_images_validate(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["path,label,split"]
    lines += [f"{p},{c},{'Train' if i % 2 else 'test'}" for i, (p, c) in enumerate(labels())]
    (images / "labels.csv").write_text("\n".join(lines))
    assert len(open_dataset(str(images / "labels.csv"), "val")) == 40
    opens(monkeypatch, reader_of(("Dog", "Cat"), outputs=2))
    context = TaskContext(data=str(images / "labels.csv"))
    # Its output 0 answers to cats, which it calls dogs.
    assert evaluate("m", context=context)["top1"] == 0.0


@pytest.mark.parametrize("label", [int, float], ids=["2", "2.0"])
def test_numbers_are_indices_of_a_model_without_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: type
) -> None:
    write_classes(tmp_path, {f"x{i}": (i, 1) for i in range(12)})
    lines = ["path,label,split", *(f"x{i}/0.png,{label(i)},val" for i in range(12))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    opens(monkeypatch, reader_of([str(i) for i in range(12)], outputs=12))
    assert evaluate("m", context=TaskContext(data=str(tmp_path / "labels.csv")))["top1"] == 1.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"is empty \(0 bytes\)"),
        ("img/0.png,cat\nimg/0.png,dog\n", "two labels, cat and dog"),
        ("img/0.png,cat\nimg/none.png,dog\n", "1 images that are not there: img/none.png"),
        ("img/0.png,cat\nimg/1.png,cat\n", "only one class"),
        ("a,b,c\n", "two columns, path and label"),
        ("path,label,split\nimg/0.png,cat,odd\nimg/1.png,dog,val\n", "not known: odd"),
        ("path,label\nimg/0.png,\nimg/1.png,dog\n", "without path or label"),
        ("img/0.png,\nimg/1.png,dog\n", "without a label"),
        ("img/0.png,cat\n./img/0.png,dog\n", "two labels, cat and dog"),
        (
            "path,label,split\nimg/0.png,cat,val\n./img/0.png,cat,train\n",
            "two splits, val and train",
        ),
        ("path;label\nimg/0.png;cat\n", "parted by ';'"),
    ],
)
def test_unclear_labels_are_refused(images: Path, text: str, why: str) -> None:
    (images / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        open_dataset(str(images / "labels.csv"), "val")


def test_an_image_counts_once_when_it_is_named_twice(images: Path) -> None:
    (images / "labels.csv").write_text(
        "path,label,Set\nimg/0.png,cat,val\n./img/0.png,cat,val\nimg/1.png,dog,val\n"
    )
    assert open_dataset(str(images / "labels.csv"), "val").labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("l.json", "[" * 100_000, "deep"),
        ("l.json", '{"a.png": "x", "a.png": "y"}', "twice"),
        ("l.json", '[{"path": "a.png", "label": NaN}]', "NaN"),
        ("l.json", "[" + "9" * 5000 + "]", "digits"),
        ("l.json", "[[]]", "list index out of range"),
        ("l.csv", "a.png," + "9" * 5000 + "\nb.png,1", "5000 letters"),
        ("l.csv", "a.png,x\n" + "b" * 5000 + ",y", "not there: a.png, b{60}…"),
        ("l.csv", "a\0.png,x\nb.png,y", "not there"),
        ("l.csv", "a.png,x\na.png," + "y" * 900, "two labels, x and y{60}…"),
    ],
)
def test_a_file_of_labels_that_a_stranger_wrote_is_refused(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        open_dataset(str(tmp_path / name), "val")
    assert len(caught.value.cause) < 800
