"""What native libraries write to stdout and stderr past Python, kept away from our own lines."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Keep what native code writes to stdout and stderr; a list of one text, filled at the end.

    QNN's provider names refused nodes in its log only, and its libraries greet on stdout, where
    ``--json -`` must stand alone.
    """
    told: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    _flush_native()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield told
        finally:
            _flush_native()
            for descriptor, number in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            told.append(file.read().decode(errors="replace"))


def _flush_native() -> None:
    """Let C's own streams write what they hold back, as they do where stdout is a pipe."""
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    library.fflush(None)


def quiet_import(name: str) -> Any:
    """Import a runtime, without what it writes while it looks for devices.

    ONNX Runtime warns on import where /sys lacks what it looks for, before its log has a level.

    Raises:
        ImportError: it is not here.
    """
    if name in sys.modules:
        return import_module(name)
    with captured_output():
        return import_module(name)
