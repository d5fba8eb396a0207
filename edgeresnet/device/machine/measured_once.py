"""What was measured of this machine once, and is read from the cache from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgeresnet.device.machine.environment import fingerprint
from edgeresnet.errors import InputError
from edgeresnet.files.locks import locked
from edgeresnet.files.places import cache_dir
from edgeresnet.files.writing import write_text
from edgeresnet.untrusted import read_record

T = TypeVar("T")


@dataclass(frozen=True)
class MeasuredOnce(Generic[T]):
    """Measured values by their keys; they hold until a processor or a version changes.

    Attributes:
        name: of the folder in the cache.
        kind: ``dict[str, ...]``: the schema of the file.
        what: to call it in a message.
    """

    name: str
    kind: Any
    what: str

    @property
    def path(self) -> Path:
        """The file of this machine, which need not exist."""
        return cache_dir() / self.name / f"{fingerprint()}.json"

    def known(self) -> dict[str, T]:
        """All that is known."""
        if not (path := self.path).exists():
            return {}
        try:
            found: dict[str, T] = read_record(path, self.kind, self.what, "measure them again.")
        except InputError:
            # The file is damaged: measuring writes it anew.
            return {}
        return found

    def remember(self, key: str, change: Callable[[T | None], T]) -> T:
        """Write what becomes of the value that is known (None: none is), and give it back."""
        path = self.path
        # Another process may be adding another key.
        with locked(path):
            known = self.known()
            value = change(known.get(key))
            write_text(json.dumps({**known, key: value}, indent=2) + "\n", path, sync=False)
        return value
