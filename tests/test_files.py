"""``~`` is the home folder wherever a path is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest

from edgeresnet.cli.app import app
from edgeresnet.cli.output import expanded
from edgeresnet.device.data.standard import download_dir
from edgeresnet.errors import InputError
from edgeresnet.files import from_home, write_json
from tests.conftest import CommandLine
from tests.host.training.test_train_checkpoint import narrow_weights


def path_parameters() -> dict[str, Any]:
    """The options and arguments that are paths, as typer was told of them."""
    found = {}
    for command in app.registered_commands:
        assert command.callback is not None
        hints = get_type_hints(command.callback, include_extras=True)
        for name, hint in hints.items():
            if "Path" in str(hint) and hasattr(hint, "__metadata__"):
                found[f"{command.callback.__name__} {name}"] = hint.__metadata__[0]
    return found


@pytest.mark.parametrize("name", sorted(path_parameters()))
def test_every_path_of_the_command_line_knows_the_home_folder(name: str) -> None:
    assert path_parameters()[name].callback is expanded


def test_all_commands_with_paths_are_looked_at() -> None:
    assert {name.split()[0] for name in path_parameters()} == {
        "train", "prune", "quantize", "export", "build", "profile", "evaluate", "compare",
        "inspect", "run",
    }  # fmt: skip


def test_command_line_reads_and_writes_below_the_home_folder(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    narrow_weights(tmp_path / "w.pt")
    before = f"import os; os.environ['HOME'] = {str(tmp_path)!r}"
    done = edgeresnet("inspect", "~/w.pt", "--json", "~/w.json", before=before)
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
