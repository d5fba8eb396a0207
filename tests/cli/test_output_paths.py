"""Where results are to go is tried out before the work, and nothing of the user's is replaced."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.api import export, prune, quantize, train
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files import outputs, writing
from edgeresnet.files.writing import write_json, write_text
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights

WRITERS = {
    "train": ("train", "--arch", "resnet18", "--data", "photos", "--epochs", 1, "-o"),
    "prune": ("prune", "own.pt", "--data", "photos", "--macs", 0.5, "-o"),
    "quantize": ("quantize", "own.pt", "--data", "photos", "--method", "ptq", "-o"),
    "quantize --json": (
        "quantize", "own.pt", "--data", "photos", "--method", "ptq", "-o", "q.pt", "--json",
    ),
    "prune --json": (
        "prune", "own.pt", "--data", "photos", "--macs", 0.5, "-o", "q.pt", "--json",
    ),
    "inspect --json": ("inspect", "own.pt", "--json"),
    "evaluate --json": ("evaluate", "own.pt", "--data", "photos", "--json"),
    "profile --json": ("profile", "own.pt", "--json"),
    "compare --json": ("compare", "own.pt", "own.pt", "--data", "photos", "--json"),
    "build --json": ("build", "bundle", "--json"),
    "devices --json": ("devices", "--json"),
    "run --json": ("run", "recipe.yaml", "--json"),
    "export": ("export", "own.pt", "--data", "photos", "-o"),
    "run": ("run", "recipe.yaml", "-o"),
    "recipes": ("recipes", "quickstart", "-o"),
}  # fmt: skip
WRONG = {
    "below a file": ("afile/x", "is a file"),
    "in a folder that takes no files": ("/proc/x/y", "cannot be written"),
    "directly there": ("/proc/x", "cannot be written"),
    "a name too long": ("n" * 256, "give a shorter name"),
    "a name too long for what stands beside it": ("n" * 250, "give a shorter name"),
    "a path too long": ("/".join(["d" * 200] * 25) + "/x", "give a shorter name"),
    "of a user who is not here": ("~nobody-of-this-name/x", "a user who is not here"),
    "below a broken link": ("broken/x", "is a link to nothing"),
    "a circle of links": ("circle/x", "is a link to nothing"),
}
RECIPE = """
name: r
data: photos
model: {weights: own.pt}
quantize: {method: ptq}
export: {targets: [onnx], precisions: [fp32]}
"""


def tree() -> dict[str, int]:
    """All paths here, and when they were changed."""
    return {str(p): p.lstat().st_mtime_ns for p in sorted(Path().rglob("*")) if not p.is_dir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given."""
    folder = tmp_path_factory.mktemp("work")
    narrow_weights(folder / "own.pt", classes=2)
    image_folder(folder / "photos", ["a", "b"], size=8)
    (folder / "afile").write_text("mine")
    (folder / "broken").symlink_to("/nowhere/at/all")
    (folder / "circle").symlink_to("circle")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(autouse=True)
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in that has all that."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path.readlink() if path.is_symlink() else path)
    (tmp_path / "afile").unlink()
    (tmp_path / "afile").write_text("mine")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights is the first of all work."""

    def begun(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the work has begun")

    for module in (prune, quantize, export):
        monkeypatch.setattr(module, "load_checkpoint", begun)
    monkeypatch.setattr("edgeresnet.host.training.train_checkpoint.train_checkpoint", begun)
    monkeypatch.setattr("edgeresnet.run.runner.content_fingerprint", begun)
    monkeypatch.setattr(train, "resumable", begun)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("writer", WRITERS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    command: Command, writer: str, what: str
) -> None:
    output, told = WRONG[what]
    if writer == "run" and what == "a name too long for what stands beside it":
        pytest.skip("beside the folder of a run stands nothing")
    before = tree()
    code, _, err = command(*WRITERS[writer], output)
    assert code == 2, err
    assert told in err
    assert err.count("fix: ") == 1
    assert tree() == before


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("output", ["photos", ".", "..", "/", "afile", "broken"])
def test_what_is_there_already_and_of_another_kind_is_left_alone(
    command: Command, writer: str, output: str
) -> None:
    before = tree()
    code, _, err = command(*WRITERS[writer], output)
    assert code == 2, err
    assert err.count("fix: ") == 1
    assert tree() == before


@pytest.mark.parametrize("writer", ["train", "quantize", "export", "run", "recipes"])
def test_a_device_is_never_replaced(command: Command, writer: str) -> None:
    os.mkfifo("pipe")
    code, _, err = command(*WRITERS[writer], "pipe")
    assert code == 2, err
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


def test_json_into_a_device_or_a_pipe_is_written_into_it() -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json({"a": 1}, "pipe")
    assert json.loads(os.read(reader, 100)) == {"a": 1}
    os.close(reader)
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    write_json({"a": 1}, os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_json_replaces_only_results(command: Command) -> None:
    Path("labels.json").write_text('{"photos/a/0.png": "a"}')
    code, _, err = command("inspect", "own.pt", "--json", "labels.json")
    assert code == 2
    assert "is there already and is no result" in err
    for _ in range(2):
        assert command("inspect", "own.pt", "--json", "new/result.json")[0] == 0
    assert json.loads(Path("new/result.json").read_text())["arch"] == "resnet18"


def test_the_result_and_its_json_are_two_files(command: Command) -> None:
    for output in ("x.pt", "./x.pt"):
        code, _, err = command(*WRITERS["quantize"], "x.pt", "--json", output)
        assert code == 2
        assert "-o and --json are the same file" in err
    assert not Path("x.pt").exists()


def test_a_link_stays_and_what_it_leads_to_is_written() -> None:
    Path("real").mkdir()
    Path("real/x.json").write_text("{}")
    Path("x.json").symlink_to("real/x.json")
    write_text("new", Path("x.json"))
    assert Path("x.json").is_symlink()
    assert Path("real/x.json").read_text() == "new"
    assert [p.name for p in Path("real").iterdir()] == ["x.json"]


def test_trying_out_leaves_nothing_when_the_folder_is_new(tmp_path: Path) -> None:
    outputs.check_output_file(tmp_path / "a/b/c.pt", "-o", "-o model.pt")
    outputs.check_output_folder(tmp_path / "a/b/c", "-o")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_refuses_files_is_told_of(
    monkeypatch: pytest.MonkeyPatch, command: Command, number: int
) -> None:
    def refuse(path: Path, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    code, _, err = command(*WRITERS["quantize"], "x.pt")
    assert code == (3 if number == errno.ENOSPC else 2)
    assert f"-o x.pt cannot be written: {os.strerror(number)}" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_full_disk_leaves_no_half_checkpoint(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        there = Path("/dev/full") if path.name.endswith(".partial") else path
        return real(there, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    before = tree()
    code, _, err = command(*WRITERS["quantize"], "x.pt")
    assert code == 3, err
    assert f"-o x.pt cannot be written: {os.strerror(errno.ENOSPC)}" in err
    assert "make room there" in err
    assert tree() == before


@pytest.mark.parametrize(
    ("error", "begun", "told"),
    [
        (PermissionError(errno.EACCES, "no"), False, InputError),
        (PermissionError(errno.EACCES, "no"), True, MissingError),
        (OSError(errno.ENOSPC, "no"), False, MissingError),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), True,
         MissingError),
        (ValueError("embedded null byte"), True, InputError),
    ],
)  # fmt: skip
def test_writing_tells_a_wrong_place_from_a_disk_that_failed(
    error: Exception, begun: bool, told: type[Exception]
) -> None:
    with (
        pytest.raises(told, match="--json x cannot be written"),
        writing.writing(Path("x"), "--json", begun=begun),
    ):
        raise error


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("writer", "full", "told"),
    [
        ("prune", ".", "what is made of own.pt takes about"),
        ("quantize", ".", "give another -o"),
        ("export", ".", "where x lies"),
        ("export", "tmp", "give another TMPDIR"),
    ],
)
def test_a_disk_without_room_is_refused_before_the_work(
    command: Command, monkeypatch: pytest.MonkeyPatch, writer: str, full: str, told: str
) -> None:
    Path("tmp").mkdir()
    monkeypatch.setattr("edgeresnet.api.export.gettempdir", lambda: str(Path("tmp").resolve()))
    real = shutil.disk_usage

    def usage(path: Path) -> Any:
        is_full = Path(path).resolve() == Path(full).resolve()
        return real(path)._replace(free=1_500_000 if is_full else 1 << 40)

    Path("own.pt").unlink()
    Path("own.pt").write_bytes(bytes(1_000_000))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    code, _, err = command(*WRITERS[writer], "x")
    assert code == 3, err
    assert "MB, and 1.5 MB are free where" in err
    assert told in err


def test_writing_leaves_alone_what_is_of_no_disk() -> None:
    with pytest.raises(RuntimeError, match="shapes"), writing.writing(Path("x")):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
