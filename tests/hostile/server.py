"""Runs commands, each in a process forked from one that has imported everything already.

A line of JSON in (`Job`), a line of JSON out. The forked process is watched from inside by an audit
hook, which sees what Python code opens, moves, removes and starts; what native code writes outside
is seen by the sentinels of the test, and by the trace of system calls.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

MOST_OUTPUT = 1 << 20
STARTS = (
    "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.system",
    "os.spawn", "pty.spawn", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
)  # fmt: skip
MOVES = (
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move",
)  # fmt: skip
LINKS = ("os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Serve until stdin ends; in a copy of a process that has imported all."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # What is imported only now is not compiled into a file, which would be one outside.
    sys.dont_write_bytecode = True
    for line in sys.stdin:
        print(json.dumps(_served(json.loads(line))), flush=True)


def _served(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job.

    Args:
        job: ``arguments``, ``folder`` to run in, ``allowed`` folders to write to, ``limit_s``,
            ``stdin``, ``environment``, ``programs`` that it may start, and ``log``, a folder for
            what is printed and seen.
    """
    log = Path(job["log"])
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        _child(job, log)
    code: int | None = None
    while time.monotonic() - start < job["limit_s"]:
        done, status, used = os.wait4(process, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    else:
        os.killpg(process, signal.SIGKILL)
        _, _, used = os.wait4(process, 0)
    seen = (log / "seen").read_text(errors="backslashreplace").splitlines()
    printed = (log / "printed").read_text(errors="backslashreplace")
    if len(printed) > MOST_OUTPUT:
        # How it ends is told last.
        printed = printed[: MOST_OUTPUT // 2] + printed[-MOST_OUTPUT // 2 :]
    return {
        "code": code,
        "printed": printed,
        "seconds": time.monotonic() - start,
        "started": [line[6:] for line in seen if line.startswith("start ")],
        "written": [line[6:] for line in seen if line.startswith("write ")],
        "peak_bytes": used.ru_maxrss * 1024,
    }


def _child(job: dict[str, Any], log: Path) -> None:
    os.setpgid(0, 0)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    # The machine that the tests run on is to live on; what asks for so much is told by its message.
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    (log / "in").write_text(job["stdin"])
    os.dup2(os.open(log / "in", os.O_RDONLY), 0)
    printed = os.open(log / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.argv = ["edgeresnet", *job["arguments"]]
    seen = os.open(log / "seen", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _watch(seen, job["allowed"], job["programs"])
    from edgeresnet.cli.app import main as command

    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(number: int, allowed: list[str], programs: list[str]) -> None:
    roots = tuple(os.path.realpath(root) for root in [*allowed, "/dev/null", "/dev/tty"])

    def inside(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True
        # A link inside that leads outside is outside.
        place = os.path.realpath(os.fsdecode(path))
        return any(place == root or place.startswith(root + os.sep) for root in roots)

    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or not (event == "open" or event in STARTS or event in MOVES):
            return
        busy = True
        try:
            if event == "open" and not (arguments[2] or 0) & WRITING:
                return
            if event == "subprocess.Popen" and arguments[0] in programs:
                return
            word = "start" if event in STARTS else "write"
            # What a link is made to lead to is not touched.
            paths = arguments[1:2] if event in LINKS else arguments[: 1 + (event == "os.rename")]
            if word == "write" and all(inside(one) for one in paths):
                return
            line = f"{word} {event} {arguments!r:.300}".replace("\n", " ")
            os.write(number, line.encode(errors="backslashreplace") + b"\n")
        finally:
            busy = False

    sys.addaudithook(hook)
