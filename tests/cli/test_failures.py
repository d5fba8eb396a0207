"""What a file system, memory, an encoding or a runtime raises is one message; a bug stays one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeresnet.api import inspect as inspecting
from edgeresnet.device.targets import failures
from edgeresnet.device.targets.failures import LACKING, NO_TEMPORARY, mendable
from edgeresnet.errors import MissingError
from tests.conftest import Command
from tests.small_models import write_onnx


def raised_by_runtime(path: Path, *, openvino: bool) -> Exception:
    """What a runtime raises that is asked for what is no model."""
    path.write_bytes(b"no model")
    try:
        if openvino:
            import openvino as runtime

            runtime.Core().read_model(str(path))
        else:
            import onnxruntime

            onnxruntime.InferenceSession(str(path))
    except Exception as error:
        return error
    raise AssertionError


def of_system(number: int, *paths: str) -> OSError:
    return OSError(number, os.strerror(number), *paths)


@pytest.mark.parametrize(
    ("error", "cause", "fix"),
    [
        (of_system(errno.ENOSPC, "/data/x"), "/data/x: No space left", "make room"),
        (of_system(errno.EDQUOT, "x"), "x: ", "quota"),
        (of_system(errno.EROFS, "x"), "x: Read-only", "can be written"),
        (of_system(errno.EFBIG, "x"), "x: File too large", "ulimit -f"),
        (of_system(errno.EIO, "x"), "x: Input/output error", "copy the files elsewhere"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "no temporary file can be made: No usable", "TMPDIR",
        ),
        (of_system(errno.EACCES, "x"), "x: Permission denied", "permissions"),
        (of_system(errno.ENOENT, "x"), "x: No such file", "stays there"),
        (of_system(errno.EMFILE), "Too many open files", "ulimit"),
        (of_system(errno.ENAMETOOLONG, "x" * 5000), "…: File name too long", "shorter"),
        (of_system(errno.ENOMEM), "memory ran out", "smaller batch"),
        (MemoryError(), "memory ran out", "smaller batch"),
        (RuntimeError("CUDA out of memory. Tried"), "memory ran out: CUDA", "smaller batch"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "memory ran out", "smaller batch",
        ),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "another encoding", "UTF-8"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), "another encoding", "UTF-8"),
        (Image.DecompressionBombError("too large"), "PIL failed: too large", "whole"),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_one_message(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str, fix: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(inspecting, "inspect", fail)
    code, _, err = command("inspect", "x.onnx")
    assert code == (
        3 if getattr(error, "errno", None) in LACKING or NO_TEMPORARY in str(error) else 2
    )
    assert "Traceback" not in err
    told, _, mended = err.partition("\nfix: ")
    assert cause in told
    assert fix in mended


@pytest.mark.parametrize("openvino", [False, True])
def test_what_a_runtime_raises_is_one_message(tmp_path: Path, openvino: bool) -> None:
    told = mendable(raised_by_runtime(tmp_path / "m.onnx", openvino=openvino))
    assert told is not None
    assert told.exit_code == 2


def test_what_was_told_of_already_stays_as_it_is() -> None:
    error = MissingError("a", "b")
    assert mendable(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not enough values to unpack"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        KeyError("fc.weight"),
        AssertionError(),
        of_system(errno.ENOENT, str(failures.OURS / "report" / "page.html")),
    ],
)
def test_a_bug_keeps_its_traceback_and_says_whose_it_is(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(inspecting, "inspect", fail)
    code, _, err = command("inspect", "x.onnx")
    assert code == 1
    assert "Traceback" in err
    assert "bug: this is a fault of edgeresnet" in err
    assert "fix: report it" in err


def test_a_model_that_vanishes_while_it_is_read_is_one_message(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    real = os.open

    def vanished(name: Any, flags: int, *more: Any, **others: Any) -> int:
        if name == path:
            raise of_system(errno.ENOENT, str(path))
        return real(name, flags, *more, **others)

    monkeypatch.setattr(os, "open", vanished)
    code, _, err = command("inspect", path)
    assert code == 2
    assert "cannot be read: No such file" in err
