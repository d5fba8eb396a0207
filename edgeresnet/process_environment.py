"""What a process is told before it imports torch, ONNX Runtime or OpenVINO; standard library only.

Importing `edgeresnet` prepares the process: the command line's, a program's that uses the library,
one of ours at the far end of ``--on``; child processes inherit it. A runtime that was imported
before keeps what it read then.
"""

from __future__ import annotations

import os
import sys


def prepare() -> None:
    """Keep runtimes from calling home."""
    _silence_telemetry()


def _silence_telemetry() -> None:
    # ONNX Runtime keeps an identity and events in the user's cache folder and looks up its maker's
    # host. No setting of the user's turns that on here.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # OpenVINO's and NNCF's sender of events reads a file in the user's home folder for its consent
    # and nothing else; both do without the package where it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
