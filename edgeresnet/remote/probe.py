"""The device's end of ``--on``: standard library only, so that any Python 3.10 can run it.

`edgeresnet.remote.command` sends this file to a Python that has no edgeresnet yet; later it starts
``python -m edgeresnet`` out of the copied package.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

OLDEST_PYTHON = (3, 10)


def probe() -> dict[str, object]:
    """What `edgeresnet.remote.command` asks first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = shutil.which("edgeresnet")
    first_line = Path(own).read_bytes().split(b"\n", 1)[0].decode(errors="replace") if own else ""
    interpreter = re.match(r"#!(\S+)$", first_line)
    return {
        "version": list(sys.version_info[:2]),
        "root": str(cache / "edgeresnet" / "remote"),
        "rsync": has_rsync(),
        "interpreter": interpreter[1] if interpreter else None,
    }


def has_rsync() -> bool:
    """Whether rsync 3 or later is here; macOS has another program of that name."""
    try:
        told = subprocess.run(
            ["rsync", "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return False
    return re.match(r"rsync\s+version (?:[3-9]|\d\d)", told) is not None


def missing(requirements: list[str], extras: list[str]) -> list[str]:
    """Those requirements (of the base and of these extras) that this Python does not meet."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        # Every Python with pip has it.
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]

    unmet = []
    for text in requirements:
        need = Requirement(text)
        if need.marker and not any(need.marker.evaluate({"extra": e}) for e in ["", *extras]):
            continue
        try:
            fine = need.specifier.contains(metadata.version(need.name), prereleases=True)
        except metadata.PackageNotFoundError:
            fine = False
        if not fine:
            unmet.append(f"{need.name}{need.specifier}")
    return unmet


def hashes(folder: str) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in it."""
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): sha256(path)
        for path in root.rglob("*")
        if path.is_file()
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; as `edgeresnet.files.hashes` has it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def end_with_stdin() -> None:
    """Nobody waits for a result whose connection is gone, and the next measurement needs quiet."""

    def wait() -> None:
        # Not sys.stdin: its lock would be held when the interpreter ends.
        while os.read(0, 4096):
            pass
        # As if it were stopped here: what it has begun is removed.
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _main() -> None:
    action, *arguments = sys.argv[1:]
    if action == "probe":
        print(json.dumps(probe()))
    elif action == "missing":
        if sys.version_info < OLDEST_PYTHON:
            sys.exit("this Python is too old for edgeresnet")
        print(json.dumps(missing(json.loads(arguments[0]), json.loads(arguments[1]))))
    elif action == "hashes":
        print(json.dumps(hashes(arguments[0])))


if __name__ == "__main__":
    _main()
