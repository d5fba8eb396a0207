"""What tests read from the disk thousands of times, and what stays the same, is read once.

That is the table of digits, a text of 1,797 lines, and the versions of installed packages, which
are looked for in all that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.device.data import standard
from edgeresnet.device.machine import environment


@contextmanager
def remembered_reads() -> Iterator[None]:
    """Read each table of digits, and each package's version, once in this process."""
    read_digits, version = standard._read_digits, lru_cache(environment._version)

    @lru_cache
    def table(path: Path, modified_ns: int) -> tuple[Any, Any]:
        return read_digits()

    def digits() -> tuple[Any, Any]:
        path = standard._digits_path()
        if path is None:
            return read_digits()
        images, labels = table(path, path.stat().st_mtime_ns)
        return images.copy(), labels.copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standard, "_read_digits", digits)
        patch.setattr(environment, "_version", version)
        # Copies of this process have both already.
        environment.versions()
        if standard._digits_path() is not None:
            digits()
        yield
