"""Whether there is a C++ compiler, which PyTorch's own compiler calls."""

from __future__ import annotations

import os
import shlex
import shutil

from edgeresnet.errors import MissingError

FIX = (
    "install a C++ compiler (Debian and Ubuntu: apt-get install g++; on a GPU PyTorch needs triton "
    "too), or leave out compile."
)


def check_cpp_compiler() -> None:
    """Look for the one that ``CXX`` names, else g++, on Windows cl.

    Raises:
        MissingError: it is not there.
    """
    command = shlex.split(os.environ.get("CXX", "cl" if os.name == "nt" else "g++"))[:1]
    if not command or shutil.which(command[0]) is None:
        named = command[0] if command else "CXX"
        raise MissingError(f"compile needs a C++ compiler, and {named} is not here", FIX)
