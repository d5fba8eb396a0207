"""Command lines in processes of their own that need not import anything: copies of a process.

Importing PyTorch and the runtimes takes seconds, most of the time of a small command.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from edgeresnet.closing import Closing
from tests.copies import Copy

COLUMNS = "80"


class ForkedCommands(Closing):
    """Runs command lines; a context manager."""

    def __init__(self) -> None:
        self._copy = Copy("tests.forked:serve", env={**os.environ, "COLUMNS": COLUMNS})

    def run(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout_s: int,
        changed: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the command line, with text captured.

        Args:
            arguments: behind ``edgeresnet``.
            cwd: where it starts.
            env: all of its environment.
            timeout_s: after which it is killed, which fails.
            changed: code that is run first.

        Raises:
            subprocess.TimeoutExpired: it was killed.
        """
        with tempfile.TemporaryDirectory() as place:
            told = [str(Path(place) / name) for name in ("out", "err")]
            asked = {"arguments": [*arguments], "cwd": str(cwd), "env": {**env}, "told": told}
            asked["changed"] = changed
            code = int(self._copy.answer(json.dumps({**asked, "timeout_s": timeout_s})))
            out, err = (Path(path).read_bytes().decode() for path in told)
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired([*arguments], timeout_s, out, err)
        return subprocess.CompletedProcess([*arguments], code, out, err)

    def close(self) -> None:
        """End the process that is copied."""
        self._copy.close()


def serve() -> None:
    """Fork for each line of stdin, and say each exit code; a copy goes on as a command line."""
    from tests.graphs import keep_operators, remembered_graphs
    from tests.networks import remembered_networks
    from tests.reads import remembered_reads
    from tests.short import shorten

    keep_operators()
    with (
        remembered_graphs(),
        remembered_networks(),
        remembered_reads(),
        pytest.MonkeyPatch.context() as patch,
    ):
        shorten(patch)
        for line in sys.stdin:
            asked = json.loads(line)
            child = os.fork()
            if child == 0:
                _become(**asked)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(
    arguments: list[str],
    cwd: str,
    env: dict[str, str],
    told: list[str],
    timeout_s: int,
    changed: str,
) -> NoReturn:
    """Run the command line, and end as Python ends, but for the seconds in which it frees all."""
    signal.alarm(timeout_s)
    for number, path in enumerate([os.devnull, *told]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    tempfile.tempdir = None
    sys.argv = ["-c", *arguments]
    from edgeresnet.cli.app import main

    def command() -> None:
        exec(changed, {})
        main()

    end_after(command)


def end_after(work: Callable[[], object]) -> NoReturn:
    """Do the work, and end the process as Python ends, with its exit code."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = 0 if end.code is None else int(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
