"""What native libraries write to stdout and stderr past Python, kept away from our own lines."""

from __future__ import annotations

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
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield told
        finally:
            for descriptor, number in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            told.append(file.read().decode(errors="replace"))


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
