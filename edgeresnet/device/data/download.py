"""Files that are fetched from the web: known by their hash, and whole or not there at all."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from edgeresnet.errors import InputError
from edgeresnet.files.hashes import CHUNK_BYTES, sha256_file
from edgeresnet.files.writing import atomic

# A server that sends nothing for so long is given up.
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web.

    Attributes:
        url: where it is.
        sha256: of its content, 64 hex digits, as published.
    """

    url: str
    sha256: str


def download(remote: RemoteFile, path: Path) -> None:
    """Fetch a file into a folder that exists; what is fetched is told on stderr.

    Raises:
        InputError: what came is not the file that it should be.
        OSError: the server cannot be reached or stops, or ``path`` cannot be written.
    """
    with atomic(path) as partial:
        try:
            # The addresses stand in this source, and what comes is known by its hash.
            with urlopen(remote.url, timeout=TIMEOUT_S) as response, partial.open("wb") as file:  # noqa: S310
                _copy(response, file, remote.url)
        except HTTPException as error:
            raise OSError(f"{remote.url} broke off: {error!r}") from error
        digest = sha256_file(partial)
        if digest != remote.sha256:
            raise InputError(
                f"{remote.url} gave {partial.stat().st_size} bytes that are not the file it is "
                f"known for (sha256 {digest[:16]}…, not {remote.sha256[:16]}…)",
                "repeat the command; if it stays so, something else answers in its place (a proxy, "
                "a login page): fetch the file elsewhere and set EDGERESNET_DATA to its folder.",
            )


def _copy(response: IO[bytes], file: IO[bytes], url: str) -> None:
    console = Console(stderr=True)
    console.print(f"fetching {url}", markup=False, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    length = getattr(response, "headers", {}).get("Content-Length")
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True) if shown else nullcontext() as bar:
        task = bar.add_task(Path(url).name, total=int(length) if length else None) if bar else None
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            if bar is not None and task is not None:
                bar.advance(task, len(chunk))
