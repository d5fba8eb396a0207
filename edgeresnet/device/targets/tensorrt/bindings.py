"""TensorRT's Python bindings, whichever are here: the full TensorRT's, or TensorRT-RTX's.

Both have one API. Where they differ, `Bindings.rtx` and `Bindings.version` say which it is.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edgeresnet.errors import MissingError

# The full TensorRT first: where it is installed, it is there for this very device.
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
FIX = (
    "on a Jetson use the TensorRT of JetPack (a virtual environment with --system-site-packages); "
    "elsewhere pip install 'edgeresnet[tensorrt]', or 'edgeresnet[tensorrt-rtx]', whose compiler "
    "needs no GPU."
)
WARNING, INFO = 2, 3
MEMORY_WORDS = ("out of memory", "outofmemory", "memory allocation", "insufficient memory")


@dataclass(frozen=True)
class Bindings:
    """TensorRT's Python module and what it is called.

    Attributes:
        product: ``tensorrt`` or ``tensorrt-rtx``.
        trt: the module.
        version: its first three numbers.
    """

    product: str
    trt: Any
    version: tuple[int, ...]

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.product == "tensorrt-rtx"

    @property
    def version_text(self) -> str:
        """The version as people write it, such as ``10.3.0``."""
        return ".".join(map(str, self.version))


@functools.cache
def find_bindings() -> Bindings | str:
    """The bindings, or why there are none."""
    reasons = []
    for product, name in MODULES.items():
        try:
            module = import_module(name)
        # Without its libraries or driver a binding fails with more than ImportError.
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{product}: {error}")
            continue
        if not hasattr(module, "Builder"):
            # Stubs for a type checker leave a folder of that name with nothing in it.
            reasons.append(f"{product}: module {name} is empty")
            continue
        numbers = re.findall(r"\d+", str(module.__version__))[:3]
        return Bindings(product, module, tuple(map(int, numbers)))
    return "; ".join(reasons)


def need_bindings() -> Bindings:
    """The bindings; MissingError says how to get them."""
    bindings = find_bindings()
    if isinstance(bindings, str):
        raise MissingError(f"TensorRT's Python bindings are not here: {bindings}", FIX)
    return bindings


@functools.cache
def log_of(bindings: Bindings) -> Any:
    """The one log of this process: TensorRT keeps the first that it is given.

    Its ``messages`` are (severity, text) with severities from 0, an internal error, over 2, a
    warning, to 4; ``take()`` returns and forgets them.
    """
    base: Any = bindings.trt.ILogger

    class Log(base):  # type: ignore[misc]  # known only once it is imported
        def __init__(self) -> None:
            base.__init__(self)
            self.messages: list[tuple[int, str]] = []

        def log(self, severity: Any, message: str) -> None:
            self.messages.append((int(severity), message))

        def take(self) -> list[tuple[int, str]]:
            taken, self.messages = self.messages, []
            return taken

    return Log()


def tells_memory(text: str) -> bool:
    """Whether a message of TensorRT's is about too little memory, in one of its many words."""
    return any(word in text.lower() for word in MEMORY_WORDS)
