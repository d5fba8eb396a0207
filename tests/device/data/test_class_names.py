"""Names that mean the same find each other, and no others; files of names are read or refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgeresnet.device.data.class_names import match_names, natural_key, read_class_names
from edgeresnet.errors import InputError


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (["trouser", "bag"], ["bag", "Trouser"], {0: 1, 1: 0}),
        (["ankle_boot"], ["Ankle boot"], {0: 0}),
        (["AnkleBoot"], ["ankle-boot"], {0: 0}),
        (["Mu\u0308nchen"], ["m\u00fcnchen"], {0: 0}),
        # Equal names first: what is left need not be unique before.
        (["cat", "Cat"], ["CAT", "cat"], {0: 1, 1: 0}),
        (["cat", "Cat"], ["dog", "CAT"], {}),
        (["t-shirt"], ["tshirt", "T_Shirt"], {}),
        (["1-0"], ["10"], {}),
        (["1 0"], ["1-0"], {0: 0}),
        (["pants"], ["trouser"], {}),
        (["crane", "dog"], ["crane", "crane", "dog"], {1: 2}),
    ],
)
def test_match_names_finds_what_reads_the_same_on_both_sides_only(
    ours: list[str], theirs: list[str], pairs: dict[int, int]
) -> None:
    assert match_names(ours, theirs) == pairs


def test_natural_key_sorts_numbers_by_value() -> None:
    names = ["10", "2", "class10", "class9", "a", "1"]
    assert sorted(names, key=natural_key) == ["1", "2", "10", "a", "class9", "class10"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "\ufeffcat\n dog \n\n"),
        ("names.json", '["cat", "dog"]'),
        ("names.json", '{"1": "dog", "0": "cat"}'),
        ("names.json", '{"dog": 1, "cat": 0}'),
        ("names.CSV", "cat\ndog\n"),
        ("names.csv", "index,name\n1,dog\n0,cat\n"),
        ("names.csv", "dog,1\ncat,0\n"),
    ],
)
def test_read_class_names_reads_every_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / name) == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("names.txt", "cat\ncat\n", "cat more than once"),
        ("names.txt", "cat\n", "fewer than two"),
        ("names.json", "{", "cannot be understood"),
        ("names.json", '{"cat": 0, "dog": 2}', "not numbered from 0 to 1"),
        ("names.json", '{"cat": 0, "dog": 0}', "not numbered from 0 to 1"),
        ("names.csv", "a,b\nc,d\n", "no column has the numbers"),
        ("names.csv", "0,0\n1,1\n2,3\n3,4\n4,2\n", "both numbers"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_read_class_names_refuses_what_is_unclear(
    tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=why):
        read_class_names(tmp_path / name)


def test_read_class_names_reads_by_its_heading_when_names_are_digits_too(tmp_path: Path) -> None:
    names = sorted(map(str, range(12)))
    lines = ["class,index", *(f"{name},{i}" for i, name in enumerate(names))]
    (tmp_path / "names.csv").write_text("\n".join(lines))
    assert read_class_names(tmp_path / "names.csv") == tuple(names)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("names.json", "[" * 100_000, "deep"),
        ("names.json", '{"0": "a", "0": "b"}', "twice"),
        ("names.json", '{"' + "9" * 5000 + '": "a", "0": "b"}', "5000 letters"),
        ("names.json", '["a", "' + "b" * 2000 + '"]', "2000 letters"),
        ("names.txt", "a\n" + "9" * 5000, "5000 letters"),
        ("names.csv", "a\n" + "b" * 200_000, "field larger"),
    ],
)
def test_read_class_names_refuses_what_a_stranger_wrote(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        read_class_names(tmp_path / name)
    assert len(caught.value.cause) < 400


def test_read_class_names_refuses_a_pipe_and_what_is_too_large(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="no regular file"):
        read_class_names(tmp_path / "pipe.txt")
    with (tmp_path / "names.txt").open("wb") as file:
        file.write(b"a")
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_class_names(tmp_path / "names.txt")


def test_read_class_names_takes_no_time_when_there_are_many(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(100_000))))
    start = time.monotonic()
    assert len(read_class_names(tmp_path / "names.txt")) == 100_000
    assert time.monotonic() - start < 5
