"""What a process is told before it imports torch, ONNX Runtime or OpenVINO; standard library only.

Importing `edgeresnet` prepares the process: the command line's, a program's that uses the library,
one of ours at the far end of ``--on``; child processes inherit it. A runtime that was imported
before keeps what it read then.
"""

from __future__ import annotations

import os
import sys

# OpenMP's threads spin at a barrier before they sleep. On a shared machine one of them waits for
# its turn while the others spin away the very time that it waits for; never to spin costs an idle
# machine more than a tenth. Chosen by measuring beside none, one and two busy processes
# (tests/benchmarks/shared_machine.py). GNU counts turns of a loop; LLVM and Intel milliseconds, of
# which this is the shortest time that every version of theirs takes.
SPINNING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
POLICY = "OMP_WAIT_POLICY"

_too_late = False


def prepare() -> None:
    """Let threads wait without hurting, and keep runtimes from calling home."""
    _limit_spinning()
    _silence_telemetry()


def openmp_waiting() -> dict[str, str | bool]:
    """The settings by which threads wait, and whether torch came late enough to read them."""
    settings = {name: os.environ[name] for name in (POLICY, *SPINNING) if name in os.environ}
    return {**settings, "in_time": not _too_late}


def _limit_spinning() -> None:
    global _too_late
    # A policy decides how long to spin, and the counts would overrule it.
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
