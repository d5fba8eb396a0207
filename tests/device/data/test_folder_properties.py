"""Whatever a folder looks like: top-1 is what the test counts itself, or the data is refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeresnet.api.evaluate import evaluate
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from tests.class_folders import opens, reader_of

LETTERS = "abxYZ09 _-\u00e4\u00df\udce4"
TRAIN = ["train", "Training", "TRAIN"]
VAL = ["val", "Valid", "VALIDATION", "Dev", "test"]
JUNK_FILES = ["._x.png", ".x.jpg", "Thumbs.db", "notes.txt", "x.heic"]
JUNK_FOLDERS = ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "x.png", "lost+found"]


def letters_of(name: str) -> str:
    """What is left without case and separators, but between digits."""
    return "".join(c for c in name.casefold() if c.isalnum() or c == "\udce4")


NAMES = st.lists(
    st.text(LETTERS, min_size=1, max_size=5).filter(letters_of),
    min_size=2,
    max_size=5,
    unique_by=letters_of,
)
# How a separator and a letter may be written otherwise.
RESPELLINGS = [str, str.upper, str.lower, str.swapcase, lambda n: n.translate({32: "_", 95: "-"})]


@dataclass
class Tree:
    """A folder under test: for each class its name there, and what its images show."""

    folders: list[tuple[str, int, list[int]]]
    order: list[int]
    parts: tuple[str | None, str]
    junk: list[str]
    deep: bool
    linked: bool


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[str], Tree]:
    names = draw(NAMES)
    folders = []
    for true, name in enumerate(names):
        respelled = draw(st.sampled_from(RESPELLINGS))(name)
        shown = draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=4))
        folders.append((respelled, true, shown))
    tree = Tree(
        folders,
        draw(st.permutations(range(len(names)))),
        (draw(st.sampled_from([None, *TRAIN])), draw(st.sampled_from(VAL))),
        draw(st.lists(st.sampled_from([*JUNK_FILES, *JUNK_FOLDERS]), unique=True)),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    return names, tree


def write(root: Path, tree: Tree) -> None:
    train, val = tree.parts
    for name, _, shown in tree.folders:
        if train is not None:
            (root / train / name).mkdir(parents=True)
        place = root / val / name
        place.parent.mkdir(exist_ok=True)
        if tree.linked:
            elsewhere = root.with_name("elsewhere") / name
            elsewhere.mkdir(parents=True)
            place.symlink_to(elsewhere)
        else:
            place.mkdir()
        (place / "around").symlink_to(root)
        inside = place / "sub" if tree.deep else place
        inside.mkdir(exist_ok=True)
        for i, shade in enumerate(shown):
            image = Image.new("RGB", (8, 8), (shade * 20,) * 3)
            image.save(inside / f"{i}.{'PNG' if i % 2 else 'png'}")
        spread_junk(place, tree.junk)
    spread_junk(root / val, tree.junk)
    spread_junk(root, tree.junk)


def spread_junk(folder: Path, names: list[str]) -> None:
    for name in names:
        if name in JUNK_FOLDERS:
            (folder / name).mkdir()
            Image.new("RGB", (8, 8)).save(folder / name / "0.png")
        else:
            Image.new("RGB", (8, 8)).save(folder / name, format="png")


def top1_of(root: Path, classes: list[str], limit: int | None = None) -> float:
    """What ``evaluate`` gives for a model of these classes, in this order."""
    model = reader_of(classes, outputs=len(classes), data="remembered")
    with pytest.MonkeyPatch.context() as patch:
        opens(patch, model)
        return evaluate("m", context=TaskContext(data=str(root), limit=limit))["top1"]


def expected(tree: Tree) -> float:
    hits = [shade == tree.order.index(true) for _, true, shown in tree.folders for shade in shown]
    return sum(hits) / len(hits)


@settings(max_examples=40, deadline=None)
@given(trees())
def test_top1_is_the_tests_own_whatever_the_order_case_junk_and_links(
    example: tuple[list[str], Tree],
) -> None:
    names, tree = example
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        root.mkdir()
        write(root, tree)
        assert top1_of(root, [names[i] for i in tree.order]) == pytest.approx(expected(tree))


@settings(max_examples=25, deadline=None)
@given(trees(), st.data())
def test_top1_is_the_tests_own_or_refused_when_a_class_is_renamed_or_missing(
    example: tuple[list[str], Tree], data: st.DataObject
) -> None:
    names, tree = example
    kind = data.draw(st.sampled_from(["renamed", "swapped for another", "missing"]))
    victim = data.draw(st.integers(0, len(names) - 1))
    other = data.draw(st.text("qrs", min_size=1, max_size=3))
    name, true, shown = tree.folders[victim]
    if kind == "missing":
        del tree.folders[victim]
    else:
        tree.folders[victim] = (other if kind == "renamed" else f"{name}{other}", true, shown)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        root.mkdir()
        write(root, tree)
        try:
            top1 = top1_of(root, [names[i] for i in tree.order])
        except InputError:
            return
        assert kind == "missing"
        assert top1 == pytest.approx(expected(tree))
