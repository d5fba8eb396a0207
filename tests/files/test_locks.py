"""One process at a time, and the next is told who."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeresnet.errors import InputError
from edgeresnet.files import locks
from edgeresnet.files.holders import Holder, this_process
from edgeresnet.files.locks import alone
from tests.conftest import Command
from tests.copies import REPOSITORY

HOLDING = """
import sys, time
from pathlib import Path
from edgeresnet.files.locks import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
TAKING = """
import sys, time
from pathlib import Path
from edgeresnet.errors import InputError
from edgeresnet.files.locks import alone
print("ready", flush=True)
sys.stdin.readline()
try:
    with alone(Path(sys.argv[1])):
        with open(sys.argv[1], "a") as file:
            file.write("one\\n")
        # Until the others have been told.
        sys.stdin.readline()
except InputError as error:
    print(error.cause, flush=True)
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_alone_tells_at_once_who_is_there_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.pt"
    with alone(path):
        with pytest.raises(InputError) as caught, alone(path):
            pass
        assert f"-o {path} is being written by process {os.getpid()} on " in caught.value.cause
        assert Path(sys.argv[0]).name in caught.value.cause
        assert caught.value.fix == "wait until it has ended; or give another -o."
        with alone(path.with_name("other.pt")):
            path.write_text("whole")
    with alone(path):
        pass
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]
    path.unlink()
    path.parent.rmdir()
    with alone(path), alone(tmp_path / "run", inside=".stages"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_its_mark_once_there_is_anything_of_it(tmp_path: Path) -> None:
    """As when its first stage is interrupted: without the mark nobody may go on with it."""
    run = tmp_path / "runs" / "r"
    with alone(run, inside=".stages"):
        (run / "01-train").mkdir()
    assert sorted(p.name for p in run.iterdir()) == [".stages", "01-train"]
    assert list((run / ".stages").iterdir()) == []


def test_alone_is_of_the_place_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "a" / "link").symlink_to("model")
    with alone(tmp_path / "a" / "model"):
        for name in ("b/model", "a/link", "a/../b/link"):
            with pytest.raises(InputError, match="is being written"), alone(tmp_path / name):
                pass


def test_alone_is_kept_in_the_cache_where_nothing_can_lie_beside(tmp_path: Path) -> None:
    # With what stands before and behind it, longer than file systems take.
    path = tmp_path / ("n" * 250)
    with alone(path):
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(InputError, match=str(os.getpid())), alone(path):
            pass
    # What is no place has no lock: whoever writes there says what is wrong.
    with alone(tmp_path / "no\0place"), alone(tmp_path / "no\0place"):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    process = started(HOLDING, path)
    assert line_of(process) == "held"
    with pytest.raises(InputError, match=f"by process {process.pid} on "), alone(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with alone(path), pytest.raises(InputError, match=f"by process {os.getpid()} on "), alone(path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_of_several_that_begin_at_once_one_wins_and_the_others_are_told(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "new" / "place"
    several = [started(TAKING, path) for _ in range(number)]
    assert [line_of(process) for process in several] == ["ready"] * number
    for process in several:
        go(process)
    # The winner says nothing: it waits for its second word.
    told = {p.pid: line_of(p) for p in several if not wins(p, path)}
    winner = next(p for p in several if p.pid not in told)
    assert len(told) == number - 1
    assert all(f"by process {winner.pid} on " in text for text in told.values()), told
    go(winner)
    assert [p.wait(30) for p in several] == [0] * number
    for process in several:
        process.communicate()
    assert path.read_text() == "one\n"
    assert [p.name for p in path.parent.iterdir()] == ["place"]


def wins(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether this process holds the lock, once anybody does."""
    record = path.with_name(f".{path.name}.holder")
    while not record.exists():
        assert process.poll() is None or record.exists()
    return bool(json.loads(record.read_text())["pid"] == process.pid)


def test_in_turn_waits_and_says_for_whom_until_the_other_has_ended() -> None:
    told: list[str] = []
    code = HOLDING.replace("alone(Path(sys.argv[1]))", "in_turn(sys.argv[1], print)")
    process = started(code.replace("import alone", "import in_turn"), "ssh://device")
    assert line_of(process) == "held"

    def tell(line: str) -> None:
        told.append(line)
        process.kill()

    with locks.in_turn("ssh://other", told.append):
        assert told == []
    with locks.in_turn("ssh://device", tell):
        [line] = told
        assert line.startswith(f"waiting for ssh://device: in use by process {process.pid} on ")
    process.communicate()


def test_lock_that_a_file_system_without_locks_has_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def lacking(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", lacking)
    path = tmp_path / "model.pt"
    with alone(path):
        with pytest.raises(InputError, match=f"by process {os.getpid()} on "), alone(path):
            pass
        marker = (tmp_path / ".model.pt.softlock").read_text()
    assert list(tmp_path.iterdir()) == []
    # Of a process that was killed there.
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    pid, *more = marker.splitlines(keepends=True)
    (tmp_path / ".model.pt.softlock").write_text("".join([f"{ended.pid}\n", *more]))
    with alone(path):
        pass
    assert list(tmp_path.iterdir()) == []
    assert int(pid) == os.getpid()


def test_holder_has_ended_only_where_that_is_sure() -> None:
    here = this_process()
    assert not here.ended()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = Holder(ended.pid, here.host, here.space, "1", "", "")
    assert gone.ended()
    # Its number was given to another process.
    assert Holder(here.pid, here.host, here.space, "1", "", "").ended()
    boot, container = here.space.split()
    assert not Holder(ended.pid, "elsewhere", here.space, "1", "", "").ended()
    assert not Holder(ended.pid, here.host, f"{boot} pid:[1]", "1", "", "").ended()
    assert Holder(here.pid, here.host, f"other-boot {container}", here.ticks, "", "").ended()
    assert here.host == socket.gethostname()


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', "\0", json.dumps({"pid": "1"})])
def test_record_of_somebody_else_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(locks, "NAMELESS_S", 0.1)
    path = tmp_path / "model.pt"
    with alone(path):
        (tmp_path / ".model.pt.holder").write_text(text)
        with pytest.raises(InputError, match="by another process") as caught, alone(path):
            pass
    assert f"remove {tmp_path / '.model.pt.lock'}" in caught.value.fix


# Refused before anything is read: no such file is there.
COMMANDS = {
    "train": ("--arch", "resnet18", "--data", "digits"),
    "prune": ("float.pt", "--macs", "0.5"),
    "quantize": ("float.pt", "--method", "ptq"),
    "export": ("float.pt",),
    "adopt": ("float.pt", "--data", "digits"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_refused_before_its_work_when_another_writes_there(
    command: Command, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "out"
    with alone(output):
        code, _, told = command(name, *COMMANDS[name], "-o", output)
    assert code == 2
    assert f"error: -o {output} is being written by process {os.getpid()} on " in told
    assert list(tmp_path.iterdir()) == []


def test_build_and_run_are_refused_too(command: Command, tmp_path: Path) -> None:
    with alone(tmp_path / "bundle"):
        code, _, told = command("build", tmp_path / "bundle")
    assert (code, f"bundle {tmp_path / 'bundle'} is being written by" in told) == (2, True)
    with alone(tmp_path / "run", inside=".stages"):
        code, _, told = command("run", "quickstart", "-o", tmp_path / "run")
    assert (code, f"-o {tmp_path / 'run'} is being written by process" in told) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_lock_lies_beside_the_output_when_its_folder_went_away_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the cache it would bar nobody who has found the folder."""
    real, asked = locks._make, list[Path]()

    def make(folder: Path) -> list[Path]:
        asked.append(folder)
        if len(asked) < 5:
            raise FileNotFoundError(folder)
        return real(folder)

    monkeypatch.setattr(locks, "_make", make)
    with locks.alone(tmp_path / "new" / "out"):
        assert (tmp_path / "new" / f".out{locks.HOLDER}").exists()
    assert {*asked} == {tmp_path / "new"}
