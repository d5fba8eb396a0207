"""What strangers wrote is read bounded, and by a schema; else one message says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typing_extensions import TypedDict

from edgeresnet.errors import InputError
from edgeresnet.untrusted import (
    MOST_DEPTH,
    parse_json,
    parse_record,
    read_at,
    read_bytes,
    read_record,
    short,
)


class Point(TypedDict):
    x: int
    names: list[str]


GOOD = b'{"x": 1, "names": ["a"]}'


def test_parse_json_finds_the_last_key_that_stands_twice_at_once() -> None:
    keys = ",".join(f'"{n % 99_999}": 0' for n in range(100_000))
    with pytest.raises(ValueError, match="key 0 stands there twice"):
        parse_json(f"{{{keys}}}")


def test_parse_record_gives_values_when_they_are_by_the_schema() -> None:
    assert parse_record(GOOD, Point) == {"x": 1, "names": ["a"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"x": "1", "names": []}', "x: "),
        (b'{"x": 1.0, "names": []}', "x: "),
        (b'{"x": true, "names": []}', "x: "),
        (b'{"x": 1}', "names: "),
        (b'{"x": 1, "x": 2, "names": []}', "twice"),
        (b'{"x": NaN, "names": []}', "NaN"),
        (b'{"x": -Infinity, "names": []}', "Infinity"),
        (b'{"x": ' + b"9" * 5000 + b', "names": []}', "digits"),
        (b"[" * 100_000, "deep"),
        (b"[" * (MOST_DEPTH + 2) + b"]" * (MOST_DEPTH + 2), "deep"),
        (b"\xff\xfe", "utf-8"),
        (b"", "Expecting value"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, bytes) else "",
)  # fmt: skip
def test_parse_record_says_why_not_when_it_is_none(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_record(content, Point)


def test_parse_json_reads_names_that_are_no_utf8_when_they_were_escaped() -> None:
    assert parse_json(b'"\\udcff"') == "\udcff"


def test_read_bytes_refuses_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(InputError, match=r"is no regular file|cannot be read"):
            read_bytes(place, "list")


def test_read_bytes_refuses_a_link_only_when_it_may_not_follow(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bytes(tmp_path / "link", "list") == GOOD
    with pytest.raises(InputError, match="is a link"):
        read_bytes(tmp_path / "link", "list", follow=False)


def test_read_at_gives_a_part_and_refuses_what_opened_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_at(tmp_path / "file", "shard", 3, 4) == b"3456"
    assert read_at(tmp_path / "file", "shard", 8, 4) == b"89"
    assert read_at(tmp_path / "file", "shard", 99, 4) == b""
    assert read_at(tmp_path / "link", "shard", 0, 1) == b"0"
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "none"):
        with pytest.raises(InputError, match=r"is no regular file|cannot be read"):
            read_at(place, "shard", 0, 1)
    for system in ("here", "elsewhere"):
        if system == "elsewhere":
            monkeypatch.delattr(os, "O_NOFOLLOW")
        with pytest.raises(InputError, match=r"shard .* is a link"):
            read_at(tmp_path / "link", "shard", 0, 1, follow=False)


def test_read_record_refuses_by_size_before_it_parses(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_record(tmp_path / "large", Point, "list", "copy it again.")


def test_short_cuts_and_escapes() -> None:
    assert short("\x1b[2J" + "a" * 1000).startswith("\\x1b[2Ja")
    assert len(short("a" * 1000)) < 70
    assert short(10**5000) == "int too large to show"
