"""Copies of the process that has imported all are each on their own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.copies import Copy

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")
HERE = "tests.test_copies:answer"


def answer() -> None:
    """Of each line, what is asked for; ``end`` ends as a crash would."""
    for line in sys.stdin:
        if line == "end\n":
            os._exit(3)
        told = {
            "line": line,
            "torch": "torch" in sys.modules,
            "folder": str(Path.cwd()),
            "own": os.environ.get("OF_THIS_COPY"),
            "process": os.getpid(),
        }
        print(json.dumps(told), flush=True)


def test_copy_has_imported_all_and_is_where_it_was_asked_to_be(tmp_path: Path) -> None:
    environment = {**os.environ, "OF_THIS_COPY": "ä"}
    with Copy(HERE, env=environment, cwd=tmp_path) as copy:
        told = json.loads(copy.answer("größer"))
    assert told["line"] == "größer\n"
    assert told["torch"]
    assert (told["folder"], told["own"]) == (str(tmp_path), "ä")


def test_copies_go_on_when_another_has_ended() -> None:
    with Copy(HERE) as first, Copy(HERE) as second:
        processes = {json.loads(copy.answer("?"))["process"] for copy in (first, second)}
        assert len(processes) == 2
        with pytest.raises(AssertionError, match="the copy has ended"):
            first.answer("end")
        assert json.loads(second.answer("?"))["process"] in processes


def test_copy_says_that_it_has_ended_when_there_is_no_such_function() -> None:
    with Copy("tests.test_copies:nothing") as copy, pytest.raises(AssertionError, match="ended"):
        copy.answer("?")
