"""What a process is told before it imports torch, ONNX Runtime or OpenVINO; standard library only.

Importing `edgeresnet` prepares the process: the command line's, a program's that uses the library,
one of ours at the far end of ``--on``; child processes inherit it. A runtime that was imported
before keeps what it read then.
"""

from __future__ import annotations

import os
import sys

# How long threads of LLVM's and Intel's OpenMP spin at a barrier before they sleep: in ms, the
# fewest that every version takes. A spinning thread burns the time that a busy neighbour has taken
# from the thread that it waits for. GNU's is looked after while it computes, in
# `edgeresnet.host.models.contention`: with any fixed count either an idle or a shared machine pays
# for it.
SPINNING = {"KMP_BLOCKTIME": "1"}
POLICY, GNU_SPINNING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
# Set while a command runs for another machine, which prints the tables itself.
SERVING = "EDGERESNET_SERVING"

_too_late = False


def prepare() -> None:
    """Let threads wait without hurting, and keep runtimes from calling home."""
    _limit_spinning()
    _silence_telemetry()


def openmp_waiting() -> dict[str, str | bool]:
    """The settings by which threads wait, and whether torch came late enough to read them."""
    names = (POLICY, GNU_SPINNING, *SPINNING)
    settings = {name: os.environ[name] for name in names if name in os.environ}
    return {**settings, "in_time": not _too_late}


def _limit_spinning() -> None:
    global _too_late
    # A policy decides how long to spin, and a time would overrule it.
    if POLICY in os.environ:
        return
    ours = {name: value for name, value in SPINNING.items() if name not in os.environ}
    os.environ.update(ours)
    _too_late = bool(ours) and "torch" in sys.modules


def _silence_telemetry() -> None:
    # ONNX Runtime keeps an identity and events in the user's cache folder and looks up its maker's
    # host. No setting of the user's turns that on here.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # OpenVINO's and NNCF's sender of events reads a file in the user's home folder for its consent
    # and nothing else; both do without the package where it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
