"""Limits of time and memory on native code that a stranger's model keeps busy, and its crashes.

Measured with ONNX Runtime 1.32 and OpenVINO 2026.4: reading, compiling and running all give the
interpreter's lock back, the longest stop of another thread was 0.15 s in 72 s of compiling. So a
thread of this process can watch, and no other process is needed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgeresnet.closing import end_now, may_end
from edgeresnet.device.machine.environment import memory_bytes
from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import MIB

# What a runtime needs beside weights and activations; and the stack of each of its threads.
BASE_BYTES, STACK_BYTES = 1024 * MIB, 16 * MIB
# A runtime packs and converts weights. Activations of the widest ResNets are 6 times their input,
# of which a few live at a time.
WEIGHTS_TIMES, INPUT_TIMES = 16, 64
# For the thread that tells that the time is over, and removes what is half done.
STUCK_S = 30.0
# More than a ``struct sigaction`` has anywhere.
ACTION_BYTES = 512
CRASHES = tuple(
    getattr(signal, name)
    for name in ("SIGFPE", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL")
    if hasattr(signal, name)
)


@contextmanager
def watched(
    path: Path, limit_s: float, *, model_bytes: int | None = None, input_bytes: int = 0
) -> Iterator[None]:
    """A block in which a model is loaded, or run for the first time.

    In a program that imports edgeresnet nothing is ended: that it took too long is told when the
    native code is done, memory has no limit, and a crash is one.

    Args:
        path: of the model, for the message.
        limit_s: that the block may take.
        model_bytes: of the model and its weights; None sets no limit to memory.
        input_bytes: of one batch.

    Raises:
        InputError: it took longer, or memory that no classifier of this size needs.
    """
    overrun = InputError(
        f"{shortened(path)} has not been loaded and run once within {limit_s:g} s",
        "see that it is the model that you mean; on a slow device give it more time: "
        "--first-run-limit-s.",
    )
    start = time.monotonic()
    with ExitStack() as stack:
        if may_end():
            timer = threading.Timer(limit_s, end_now, [overrun])
            timer.daemon = True
            stack.callback(timer.cancel)
            timer.start()
            if model_bytes is not None:
                stack.enter_context(_bounded_memory(_allowed(model_bytes, input_bytes)))
            stack.enter_context(_ended_by_the_system(limit_s + STUCK_S))
            stack.enter_context(_crashes_told(path))
        try:
            yield
        except MemoryError as error:
            raise InputError(
                f"{shortened(path)} asks for more than an image classifier of its size needs: "
                f"{error or 'no such memory'}",
                "see that it is the model that you mean, or give a smaller --batch.",
            ) from error
    if time.monotonic() - start > limit_s:
        raise overrun


def _allowed(model_bytes: int, input_bytes: int) -> int:
    """Bytes that opening a model may take, beside what the process has."""
    stacks = (os.cpu_count() or 1) * STACK_BYTES
    wanted = BASE_BYTES + stacks + WEIGHTS_TIMES * model_bytes + INPUT_TIMES * input_bytes
    return min(wanted, memory_bytes())


@contextmanager
def _bounded_memory(more_bytes: int) -> Iterator[None]:
    """Lets this process take so much more than it has, where the system can be told so (Linux)."""
    try:
        import resource
    except ImportError:
        # Windows.
        yield
        return
    if sys.platform != "linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = pages * resource.getpagesize() + more_bytes
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def _ended_by_the_system(after_s: float) -> Iterator[None]:
    """Where a runtime holds what every thread of Python needs, no other one can end this process.

    Then the system does, without a message. A timer that is set already stays.
    """
    free = hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    if not free or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _crashes_told(path: Path) -> Iterator[None]:
    """Makes a message of what ends a process in native code: a fault of a model or a runtime.

    Python's own handlers of signals run only when native code is done, which this never is.
    """
    if sys.platform != "linux":
        yield
        return
    # Ends the process: where it came from there is nothing to go back to. Where not even this can
    # run, as with a spoiled memory, the system ends it.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: end_now(_crash(path, number)))
    ours = ctypes.cast(handler, ctypes.c_void_p).value
    libc: Any = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = {number: _action(libc, number) for number in CRASHES}
    for number in CRASHES:
        libc.signal(number, ours)
    try:
        yield
    finally:
        for number, earlier in before.items():
            # A runtime may have set one of its own meanwhile.
            now = _action(libc, number)
            libc.sigaction(number, earlier if libc.signal(number, ours) == ours else now, None)


def _action(libc: Any, number: int) -> ctypes.Array[ctypes.c_char]:
    """What the system does on a signal, as it keeps it."""
    kept = ctypes.create_string_buffer(ACTION_BYTES)
    libc.sigaction(number, None, kept)
    return kept


def _crash(path: Path, number: int) -> InputError:
    name = signal.Signals(number).name
    if name == "SIGFPE":
        # On x86.
        return InputError(
            f"{shortened(path)} divides whole numbers in a way that has no result",
            "see that it is the model that you mean, or export it again.",
        )
    return InputError(
        f"{shortened(path)} makes its runtime crash ({name})",
        "see that it is the model that you mean; if it is, install another version of the runtime "
        "(edgeresnet devices shows yours), and report it to its makers.",
    )
