"""``~`` is the home folder wherever a path is taken; files are whole or not there, and locked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from edgeresnet.cli.app import COMMANDS
from edgeresnet.cli.output import expanded
from edgeresnet.device.data.standard import download_dir
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes, sha256_file
from edgeresnet.files.locks import locked
from edgeresnet.files.places import cache_dir, from_home
from edgeresnet.files.writing import atomic, write_bytes, write_json, write_text
from tests.conftest import CommandLine
from tests.copies import REPOSITORY
from tests.host.training.test_train_checkpoint import narrow_weights


def path_parameters() -> dict[str, Any]:
    """The options and arguments that are paths, as typer is told of them."""
    parameters = {}
    for name in COMMANDS:
        command = getattr(import_module(f"edgeresnet.cli.{name}"), name)
        for parameter, hint in get_type_hints(command, include_extras=True).items():
            if "Path" in str(hint) and hasattr(hint, "__metadata__"):
                parameters[f"{name} {parameter}"] = hint.__metadata__[0]
    return parameters


@pytest.mark.parametrize("name", sorted(path_parameters()))
def test_every_path_of_the_command_line_knows_the_home_folder(name: str) -> None:
    assert path_parameters()[name].callback is expanded


def test_all_commands_with_paths_are_looked_at() -> None:
    assert {name.split()[0] for name in path_parameters()} == {
        "train", "adopt", "prune", "quantize", "export", "build", "profile", "evaluate", "compare",
        "inspect", "recipes", "report", "run", "shard", "verify",
    }  # fmt: skip


def test_command_line_reads_and_writes_below_the_home_folder(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    narrow_weights(tmp_path / "w.pt")
    before = f"import os; os.environ['HOME'] = {str(tmp_path)!r}"
    done = edgeresnet("inspect", "~/w.pt", "--json", "~/w.json", changed=before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.json").is_file()


def test_json_and_own_data_know_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGERESNET_DATA", "~/data")
    write_json({"a": 1}, "~/a.json")
    assert (tmp_path / "a.json").is_file()
    assert download_dir() == tmp_path / "data"


def test_a_user_who_is_not_here_is_one_message() -> None:
    with pytest.raises(InputError, match="a user who is not here"):
        from_home("~nobody-of-this-name/x")


def test_atomic_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text("old", path)

    def write_half() -> None:
        with atomic(path) as partial:
            partial.write_text("half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    write_bytes(b"new", path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


def test_atomic_writes_through_no_link_that_waits_for_it(tmp_path: Path) -> None:
    path, mine = tmp_path / "x", tmp_path / "mine"
    mine.write_text("mine")
    # As it was called once.
    (tmp_path / ".x.partial").symlink_to(mine)
    write_text("new", path)
    path.unlink()
    path.symlink_to(mine)
    write_text("newer", path, follow=False)
    assert (path.is_symlink(), path.read_text(), mine.read_text()) == (False, "newer", "mine")


def test_atomic_removes_what_was_left_long_ago(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic(path) as partial:
        partial.write_text("")
        now = tmp_path / partial.name.replace("x", "y")
    left, other = tmp_path / ".x.0a1b2c3d.partial", tmp_path / ".xx.0a1b2c3d.partial"
    for one in (left, other, now):
        one.write_text("half")
    for one in (left, other):
        os.utime(one, (0, 0))
    write_text("new", path)
    assert {p.name for p in tmp_path.iterdir()} == {"x", other.name, now.name}


def test_hashes_are_those_of_hashlib(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256_file(tmp_path / "x") == sha256_bytes(content) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have their caches elsewhere")
def test_cache_is_where_it_always_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own" / "edgeresnet"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "edgeresnet"


ADDING = """
import sys
from importlib import import_module
from pathlib import Path
from edgeresnet.files.locks import locked
from edgeresnet.files.writing import write_text
path = Path(sys.argv[1])
for _ in range(100):
    with locked(path):
        write_text(str(int(path.read_text()) + 1), path)
"""


def test_locked_lets_no_process_lose_what_another_wrote(tmp_path: Path) -> None:
    path = tmp_path / "new" / "count"
    with locked(path):
        write_text("0", path)
    started = [
        subprocess.Popen([sys.executable, "-c", ADDING, str(path)], cwd=REPOSITORY)
        for _ in range(2)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    assert path.read_text() == "200"
