"""What a process is told before a runtime is imported, seen from outside by its system calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeresnet.device.machine.process_environment import SPINNING
from tests.copies import REPOSITORY

# What may come from whoever runs the tests; some of it would silence a runtime by itself.
SETTINGS = ("OMP_", "GOMP_", "KMP_", "ORT_", "XDG_", "NNCF_", "CI", "TF_BUILD", "JENKINS_URL")
CALLS = "connect,sendto,sendmsg,sendmmsg,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2"
CREATES = re.compile(r"(?:mkdir|rename|creat)\w*\(|open(?:at)?\(.*O_CREAT")
INTERNET = re.compile(r"sa_family=AF_INET6?\b")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without what would decide the outcome."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **settings}


def told(code: str, **settings: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=clean_environment(**settings), check=True,
    )  # fmt: skip
    return done.stdout.strip()


WAITING = """
import json
from edgeresnet.device.machine.environment import environment
print(json.dumps(environment()["openmp_waiting"]))
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {**SPINNING, "in_time": True}),
        ({"GOMP_SPINCOUNT": "7"}, {**SPINNING, "GOMP_SPINCOUNT": "7", "in_time": True}),
        ({"KMP_BLOCKTIME": "9"}, {**SPINNING, "KMP_BLOCKTIME": "9", "in_time": True}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE", "in_time": True}),
    ],
)
def test_threads_wait_as_we_found_best_unless_the_user_says_how(
    settings: dict[str, str], expected: dict[str, str | bool]
) -> None:
    assert json.loads(told(WAITING, **settings)) == expected


def test_waiting_is_told_as_too_late_when_torch_came_first() -> None:
    assert json.loads(told("import torch" + WAITING)) == {**SPINNING, "in_time": False}
    # What was there when the process began, torch has read.
    settings = {**SPINNING, "OMP_NUM_THREADS": "1"}
    # It is looked for by its name; a second import of it would take seconds.
    stands_for_torch = "import sys\nsys.modules['torch'] = None"
    assert json.loads(told(stands_for_torch + WAITING))["in_time"] is False
    assert json.loads(told(stands_for_torch + WAITING, **settings))["in_time"]


def test_telemetry_is_off_whatever_the_user_s_environment_says() -> None:
    code = """
import os, sys
import edgeresnet, openvino
print(os.environ["ORT_DISABLE_TELEMETRY"], sys.modules["openvino_telemetry"])
"""
    assert told(code, ORT_DISABLE_TELEMETRY="0") == "1 None"


def strace() -> list[str]:
    """The tracer's command line; skips, and says why, where there is none."""
    tool = shutil.which("strace")
    if tool is None:
        pytest.skip("strace is not installed: sudo apt-get install strace")
    tried = subprocess.run([tool, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return [tool, "-f", "-qq", "--seccomp-bpf", "-s", "300", "-e", f"trace={CALLS}"]


@pytest.mark.parametrize(
    "arguments",
    [
        # Both runtimes that tell others of their use, one after the other.
        ("compare", "{files}/onnx-fp32", "{files}/openvino-fp32", "--limit", "20", "--rounds", "3"),
        pytest.param(("profile", "{files}/onnx-int8"), marks=pytest.mark.slow),
        pytest.param(
            ("export", "{files}/float.pt", "--target", "openvino", "-o", "{out}"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_commands_reach_for_no_network_and_write_into_no_home(
    arguments: tuple[str, ...], files: Path, tmp_path: Path
) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    named = [argument.format(files=files, out=tmp_path / "bundle") for argument in arguments]
    code = "from edgeresnet.cli.app import main; main()"
    done = subprocess.run(
        [*strace(), "-o", str(trace), sys.executable, "-c", code, *named],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=clean_environment(HOME=str(home), OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = trace.read_text(errors="replace").splitlines()
    assert calls
    ours = str(home / ".cache" / "edgeresnet")
    parents = (f'"{home}/.cache", ', f'"{home}", ')
    reached = [line for line in calls if INTERNET.search(line)]
    written = [
        line
        for line in calls
        if CREATES.search(line)
        and str(home) in line
        and ours not in line
        and not any(parent in line for parent in parents)
    ]
    assert (reached, written) == ([], [])
    left = [path for path in home.rglob("*") if path.is_file() and ours not in str(path)]
    assert left == []
