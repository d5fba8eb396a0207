"""Nothing but our own lines: runtimes warn and greet past Python's streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeresnet.device.machine.native_output import captured_output
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from tests.conftest import CommandLine
from tests.copies import REPOSITORY

# Marks of others' logs: ONNX Runtime's and TensorRT's [W: and [I], OpenVINO's [ WARNING ], QNN's
# stages, Python's warnings.
FOREIGN = re.compile(
    r"\[[WIEVF][:\]]|\[ ?(?:INFO|WARNING|ERROR|DEBUG) ?\]|\w+Warning: |onnxruntime:|Serializing|"
    r"(?:Starting|Completed) stage|QNN|<[IWE]>"
)


@pytest.fixture(scope="module")
def bundles(
    files: Path, tmp_path_factory: pytest.TempPathFactory, int8_checkpoint: Checkpoint
) -> dict[str, Path]:
    """A quantized bundle of each target that runs here."""
    found = {name: files / name for name in ("onnx-int8", "openvino-int8")}
    if target_of("qnn").devices():
        out_dir = tmp_path_factory.mktemp("qnn") / "qnn-int8"
        export_bundle(int8_checkpoint, target="qnn", precision="int8", out_dir=out_dir)
        found["qnn-int8"] = out_dir
    return found


COMMANDS: dict[str, tuple[str, ...]] = {
    "profile": ("profile", "--layers"),
    "build": ("build",),
    "inspect": ("inspect",),
    "evaluate": ("evaluate", "--limit", "8"),
}
# Evaluating opens and runs a bundle of each; each is a new Python, of seconds.
BY_DEFAULT = (
    ("onnx-int8", "profile"), ("onnx-int8", "evaluate"), ("openvino-int8", "evaluate"),
    ("qnn-int8", "evaluate"), ("qnn-int8", "build"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param(
            name, command, id=f"{name}-{told}",
            marks=[] if (name, told) in BY_DEFAULT else [pytest.mark.slow],
        )
        for name in ("onnx-int8", "openvino-int8", "qnn-int8")
        for told, command in COMMANDS.items()
    ],
)  # fmt: skip
def test_output_is_our_own_lines_only(
    edgeresnet: CommandLine, bundles: dict[str, Path], name: str, command: tuple[str, ...]
) -> None:
    if name not in bundles:
        pytest.skip(f"no device here runs {name}")
    more: tuple[str, ...] = ()
    if name == "qnn-int8" and command[0] == "profile":
        pytest.skip("an emulator is not profiled")
    if name == "qnn-int8" and command[0] == "build":
        more = ("--device", "sm8650")
    # What a runtime says while it is imported counts too.
    found = edgeresnet(command[0], bundles[name], *command[1:], *more, fresh=True)
    assert found.returncode == 0, found.stderr
    for line in (found.stdout + found.stderr).splitlines():
        assert not FOREIGN.search(line), line
    alone = edgeresnet(command[0], bundles[name], *command[1:], *more, "--quiet", "--json", "-")
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["schema"] == 1
    assert without_doubt(alone.stderr) == ""


def without_doubt(told: str) -> str:
    """Without our own line on an untrained network, which is told with ``--quiet`` too."""
    lines = told.splitlines()
    return "\n".join(line for line in lines if "is not clearly above chance" not in line)


def test_onnxruntimes_default_log_is_silent_when_it_was_loud(
    edgeresnet: CommandLine, files: Path
) -> None:
    """Some of its warnings go past the level of a session, to a log that all sessions share."""
    loud = "import onnxruntime; onnxruntime.set_default_logger_severity(0)"
    found = edgeresnet("inspect", files / "onnx-int8" / "model.onnx", "--quiet", before=loud)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    found = edgeresnet(
        "evaluate", files / "onnx-int8", "--limit", 8, "--quiet", "--json", "-", before=loud
    )
    assert found.returncode == 0, found.stderr
    assert without_doubt(found.stderr) == ""


def test_import_is_silent_when_a_runtime_warns_about_the_machine(tmp_path: Path) -> None:
    """ONNX Runtime warns on import where /sys lacks what it looks for."""
    (tmp_path / "loud.py").write_text("import os\nos.write(1, b'hi')\nos.write(2, b'ho')\n")
    module = "edgeresnet.device.machine.native_output"
    code = f"from {module} import quiet_import as q; q('loud'); print('ours')"
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ours\n", "")


def test_captured_output_gives_back_the_streams_when_the_work_fails() -> None:
    told: list[str] = []

    def work() -> None:
        nonlocal told
        with captured_output() as told:
            os.write(2, b"from native code")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert told == ["from native code"]


def test_captured_output_holds_what_a_library_has_not_written_yet() -> None:
    """Where stdout is a pipe, C's streams write when they are full or the process ends."""
    code = (
        "import ctypes, sys\n"
        "from edgeresnet.device.machine.native_output import captured_output\n"
        "printf = ctypes.CDLL(None).printf\n"
        "with captured_output() as told:\n"
        "    printf(b'greeting')\n"
        "print('ours', told)\n"
    )
    if sys.platform == "win32":
        pytest.skip("C's streams are another library's on Windows")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    assert done.stdout == "ours ['greeting']\n"
