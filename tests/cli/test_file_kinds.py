"""What is plainly another kind of file is called so, whatever it was taken for."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.small_models import write_onnx, write_openvino

KINDS = {
    "is a web page": b"\xef\xbb\xbf\n<!DOCTYPE html><html></html>",
    "is a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
    "is empty (0 bytes)": b"",
    "is a file that gzip has compressed": gzip.compress(b"x" * 99),
    "is a PNG image": b"\x89PNG\r\n\x1a\n" + b"0" * 50,
    "is a zip archive": b"PK\x03\x04" + b"0" * 50,
}
USES = {
    "x.ONNX": ("inspect", "x.ONNX"),
    "x.onnx": ("evaluate", "x.onnx", "--data", "photos"),
    "x.xml": ("profile", "x.xml"),
    "x.csv": ("evaluate", "own.pt", "--data", "x.csv"),
    "x.json": ("evaluate", "own.pt", "--data", "x.json"),
    "x.txt": ("evaluate", "own.pt", "--data", "photos", "--classes", "x.txt"),
    "x.yaml": ("run", "x.yaml"),
    "x.PTH": ("inspect", "x.PTH"),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    narrow_weights(folder / "own.pt", classes=2)
    image_folder(folder / "photos", ["a", "b"], size=8)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", USES)
def test_a_file_of_another_kind_is_called_what_it_is(
    command: Command, given: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.chdir(given)
    if name == "x.PTH" and "zip" in kind:
        # Checkpoints are zip archives themselves: a cut one is damaged.
        return
    Path(name).write_bytes(KINDS[kind])
    code, _, err = command(*USES[name])
    assert code == 2, err
    assert f"{name} {kind}" in err
    assert err.count("fix: ") == 1


def test_suffixes_and_devices_are_known_in_any_case(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    narrow_weights(Path("W.PT"), classes=2)
    write_openvino(write_onnx(Path("m.onnx"), classes=2))
    for name in ("m.onnx", "m.xml", "m.bin"):
        Path(name).rename(name.upper())
    for name in ("W.PT", "M.ONNX", "M.XML"):
        assert command("inspect", name)[0] == 0
        code, out, err = command("profile", name, "--device", "CPU", "--json", "-")
        assert code == 0, err
        assert '"device": "cpu"' in out
