"""What README's chapter "Development" names is where it says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.copies import REPOSITORY

CHAPTER = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\n## Development\n")[1]
TREE = CHAPTER.split("\n```\n")[1].splitlines()
PATH = re.compile(r"`((?:edgeresnet|tests|recipes|\.ci)/[\w./-]*|[\w-]+\.(?:toml|md))`")
# ``NAME`` in ``path``, as the chapter says it.
NAMED = re.compile(r"`(\w+)` in\s+`([\w./-]+\.py)`")
# Stand for the name of what somebody adds.
PLACEHOLDERS = ("NAME", "COMMAND")


def is_there(path: str) -> bool:
    for placeholder in PLACEHOLDERS:
        path = path.replace(placeholder, "*")
    return any(REPOSITORY.glob(path.rstrip("/")))


def folders() -> set[str]:
    """All packages, as the tree writes them."""
    inside = (path.parent for path in (REPOSITORY / "edgeresnet").rglob("__init__.py"))
    return {f"{path.relative_to(REPOSITORY).as_posix()}/" for path in inside}


def test_every_path_of_the_chapter_exists() -> None:
    named = set(PATH.findall(CHAPTER))
    assert len(named) > 30
    assert sorted(path for path in named if not is_there(path)) == []


def test_the_tree_has_every_folder_and_no_other() -> None:
    listed = [line.split()[0] for line in TREE]
    assert sorted(set(listed) - {"recipes/", "tests/"}) == sorted(folders())
    assert all(Path(REPOSITORY / folder).is_dir() for folder in listed)
    assert all(len(line.split()) > 1 for line in TREE)


def test_files_that_the_tree_names_are_in_their_folder() -> None:
    for line in TREE:
        folder, text = line.split(maxsplit=1)
        for name in re.findall(r"\b\w+\.py\b", text):
            assert (REPOSITORY / folder / name).is_file(), f"{folder}{name}"


def test_names_are_in_the_files_that_the_chapter_says() -> None:
    pairs = NAMED.findall(CHAPTER)
    assert len(pairs) > 10
    for name, path in pairs:
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:def |class )?{name}\b", text, re.M), f"{name} in {path}"
