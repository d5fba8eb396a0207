"""What a command has to tell is told, whatever becomes of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.errors import MissingError
from tests.conftest import Command


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_tables_are_shown_when_the_json_cannot_be_written_after_the_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: tuple[str, ...]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise MissingError("--json d.json cannot be written: no room", "make room there.")

    monkeypatch.setattr("edgeresnet.device.machine.privacy.write_result", full)
    code, out, err = command("devices", "--json", tmp_path / "d.json", *quiet)
    assert code == 3
    assert "no room" in err
    assert "onnx" in out
    assert "openvino" in out
