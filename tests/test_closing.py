"""A command ends cleanly on a signal, wherever it is; what a killed one left is removed later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeresnet import closing
from edgeresnet.closing import temporary_folder
from tests.copies import REPOSITORY

# A command that holds a temporary folder, a lock and a file that is not whole, and then works.
WORKING = """
import ctypes, signal, sys, time
from pathlib import Path
from edgeresnet.cli import app
from edgeresnet.closing import temporary_folder
from edgeresnet.files.locks import alone
from edgeresnet.files.writing import atomic
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    # As a terminal starts it; the tests may be a background job, which ignores interrupts.
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
{before}

def work():
    with temporary_folder(), alone(Path("model.pt")), atomic(Path("model.pt")):
        print("working", flush=True)
        {work}

app.app = work
sys.argv = ["edgeresnet", "train", "-o", "model.pt"]
app.main()
"""
PYTHON = "time.sleep(60)"
# It sees no signal, as a runtime's compiler; it gives the interpreter's lock back, as they do.
NATIVE = """
        own, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
        own.pthread_mutex_lock(mutex)
        own.pthread_mutex_lock(mutex)
"""
STUBBORN = """
        try:
            time.sleep(60)
        finally:
            time.sleep(60)
"""
# Less than it has, for the sake of the tests' time.
IMPATIENT = "from edgeresnet import closing; closing.PATIENCE_S = 0.5"
# As torch's, which takes seconds on a busy machine.
SLOW_END = "import atexit; atexit.register(time.sleep, 60)"
CHILD = """
        import subprocess
        subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])
"""


def working(tmp_path: Path, work: str, before: str = "") -> subprocess.Popen[str]:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING.format(work=work.strip("\n "), before=before)],
        cwd=tmp_path / "here", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    # Its next step is the work.
    time.sleep(0.1)
    return process


def left(tmp_path: Path) -> list[str]:
    return sorted(p.name for name in ("tmp", "here") for p in (tmp_path / name).iterdir())


@pytest.mark.parametrize(
    ("number", "work"),
    [
        (signal.SIGINT, PYTHON),
        (signal.SIGTERM, PYTHON),
        (signal.SIGHUP, PYTHON),
        (signal.SIGTERM, NATIVE),
        (signal.SIGTERM, STUBBORN),
        (signal.SIGTERM, CHILD),
        (signal.SIGINT, SLOW_END + "; time.sleep(60)"),
    ],
    ids=[
        "interrupt",
        "terminate",
        "hang-up",
        "native code",
        "stubborn",
        "child process",
        "slow end",
    ],
)
def test_command_ends_cleanly_within_3_s_on_a_signal(
    tmp_path: Path, number: signal.Signals, work: str
) -> None:
    assert closing.PATIENCE_S == 2
    process = working(tmp_path, work, IMPATIENT if work in (NATIVE, STUBBORN) else "")
    assert len(left(tmp_path)) == 4
    start = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - start < 3
    assert process.returncode == 128 + number
    assert left(tmp_path) == []
    assert told == (
        f"interrupted: train, by {number.name}\n"
        "fix: repeat the same command: it goes on where it was.\n"
    )


def test_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    process = working(tmp_path, STUBBORN)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - start < 1
    assert (process.returncode, left(tmp_path)) == (130, [])
    assert told.startswith("interrupted: train, by SIGINT\n")


def test_what_is_ignored_stays_ignored_and_a_programs_handlers_stay_its_own(
    tmp_path: Path,
) -> None:
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    process = working(tmp_path, PYTHON, before)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with closing.ending_on_signals(lambda end: None):
        assert signal.getsignal(signal.SIGTERM) != handlers[1]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    with temporary_folder():
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_temporary_folders_of_killed_processes_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = working(tmp_path, PYTHON)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    place = tmp_path / "tmp"
    [killed] = place.iterdir()
    (killed / "engine").write_bytes(b"large")
    # What an older version may be using, what has another name, and what is another's.
    for name in ("edgeresnet-old", "other-x", "edgeresnet-theirs"):
        (place / name).mkdir()
        (place / name / "file").touch()
    (place / "edgeresnet-theirs" / ".lock").touch()
    os.chown(place / "edgeresnet-theirs", 12345, 12345) if os.getuid() == 0 else None
    (place / "edgeresnet-link").symlink_to(place / "other-x")
    (place / "other-x" / ".lock").touch()
    for name, age in (("edgeresnet-empty", 2 * 86_400), ("edgeresnet-new", 0)):
        (place / name).mkdir()
        os.utime(place / name, (time.time() - age,) * 2)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with temporary_folder() as mine:
        assert not killed.exists()
        closing._swept.clear()
        with temporary_folder():
            assert (Path(mine) / ".lock").exists()
    kept = {"edgeresnet-old", "other-x", "edgeresnet-link", "edgeresnet-new"}
    kept |= {"edgeresnet-theirs"} if os.getuid() == 0 else set()
    assert {p.name for p in place.iterdir()} == kept
