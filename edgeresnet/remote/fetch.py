"""What comes back from a device: by exact names, and as the hashes that it told."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from typing_extensions import Self

from edgeresnet.errors import MissingError
from edgeresnet.files.hashes import sha256_file
from edgeresnet.files.writing import atomic
from edgeresnet.remote.answers import Hash, listen, marked, skip_to
from edgeresnet.remote.ssh import Connection
from edgeresnet.untrusted import short

# An engine of a ResNet-152 in fp32 has about 250 MiB.
MOST_BYTES = 4 << 30
# Of an archive of two files, with what some systems' tar says of each.
MOST_HEADS, MOST_HEAD = 32, 1 << 16


def fetch(
    connection: Connection, folder: str, local_dir: Path, names: Sequence[str], python: str
) -> None:
    """Copy files of the device's folder into ``local_dir``: all of them, or none.

    Args:
        connection: to the device.
        folder: there.
        local_dir: here; made if need be.
        names: of the files; what else comes is not taken.
        python: there, which tells the hashes.

    Raises:
        MissingError: the connection broke, or what came is not what was asked for.
    """
    told = connection.run_probe(dict[str, Hash], python, "hashes", folder) or {}
    command, marker = marked(["tar", "-cf", "-", "-C", folder, "--", *names])
    local_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # All of them come to their places at the end of the block.
        places = {n: stack.enter_context(atomic(local_dir / n, follow=False)) for n in names}

        def take(stream: IO[bytes]) -> str | None:
            try:
                if skip_to(stream, marker):
                    _unpack(stream, places)
            # tarfile has a ValueError for some heads that are malformed.
            except (tarfile.TarError, OSError, ValueError) as error:
                stream.close()
                return str(error)
            return None

        process = connection.start(command)
        fault = listen(process, connection.address, lambda line: None, take, lambda pipe: None)
        connection.check(process.returncode, "bringing the result back")
        if fault is not None:
            raise _refusal(connection, folder, fault)
        for name in names:
            if sha256_file(places[name]) != told.get(name):
                raise _refusal(connection, folder, f"{name} is not whole")


def _unpack(stream: IO[bytes], places: Mapping[str, Path]) -> None:
    """Regular files of these names; their content alone is taken."""
    left, heads = MOST_BYTES, MOST_HEADS
    wanted = dict(places)

    class Bounded(tarfile.TarInfo):
        """Refused by its head: one that tells more of the next is read whole into memory."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal heads
            heads -= 1
            head = super().frombuf(buf, encoding, errors)
            plain = head.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
            if heads < 0 or not 0 <= head.size <= (MOST_BYTES if plain else MOST_HEAD):
                raise tarfile.TarError("its archive is no archive of files")
            return head

    with tarfile.open(fileobj=stream, mode="r|", tarinfo=Bounded) as archive:
        for member in archive:
            left -= max(member.size, 0)
            plain = member.isreg() and not member.issparse()
            # Each once: of a second one nobody knows which of them is meant.
            place = wanted.pop(member.name, None)
            if place is None or not plain or left < 0:
                raise tarfile.TarError("it sends what was not asked for")
            content = archive.extractfile(member)
            assert content is not None
            with place.open("wb") as file:
                shutil.copyfileobj(content, file)


def _refusal(connection: Connection, folder: str, why: str) -> MissingError:
    return MissingError(
        f"{connection.address} did not send {short(folder)}: {why}", "repeat the command."
    )
