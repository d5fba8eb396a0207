"""A device that answers as a test says; no ssh, and no other program, is started for it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.remote.answers import parsed
from edgeresnet.remote.ssh import Address, Connection


def archive(files: Mapping[str, bytes | None]) -> bytes:
    """A tar archive; None is a link to /etc/passwd."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            entry.size = len(data or b"")
            made.addfile(entry, io.BytesIO(data or b""))
    return content.getvalue()


class FarEnd(Connection):
    """Tells the hashes of ``files``, and sends ``stream`` between markers, behind some noise."""

    def __init__(
        self, files: Mapping[str, bytes], stream: bytes, noise: bytes = b"", told: Any = None
    ) -> None:
        self.address = Address("device")
        self._hashes = json.dumps({n: sha256_bytes(c) for n, c in files.items()})
        self._told, self._stream, self._noise = told, stream, noise

    def run_probe(self, kind: Any, python: str, *arguments: str) -> Any:
        """The hashes, or what the test says instead."""
        return parsed(self._hashes if self._told is None else self._told, kind, self.address)

    def start(self, arguments: Any) -> Any:
        """A process that has printed already."""
        marker = f"\n{arguments[3]}\n".encode()
        output = io.BytesIO(self._noise + marker + self._stream + marker)
        return SimpleNamespace(
            stdin=io.BytesIO(), stdout=output, stderr=io.BytesIO(), returncode=0,
            wait=lambda limit_s=None: 0, kill=lambda: None,
        )  # fmt: skip
