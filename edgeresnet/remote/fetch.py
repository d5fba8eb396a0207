"""What comes back from a device: by exact names, and as the hashes that it told."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgeresnet.errors import MissingError
from edgeresnet.files import sha256_file
from edgeresnet.remote.answers import Hash, marked, skip_to
from edgeresnet.remote.ssh import Connection

# An engine of a ResNet-152 in fp32 has about 250 MiB.
MOST_BYTES = 4 << 30


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
    process = connection.start(command)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    local_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=local_dir, prefix=".fetch-") as staging:
        try:
            if skip_to(process.stdout, marker):
                _unpack(process.stdout, Path(staging), names)
            # What a shell prints at its end would block it else.
            while process.stdout.read(1 << 16):
                pass
        except (tarfile.TarError, OSError) as error:
            # A cut connection looks like this; its exit code tells.
            process.stdout.close()
            connection.check(process.wait(), "bringing the result back")
            raise _refusal(connection, folder, str(error)) from error
        connection.check(process.wait(), "bringing the result back")
        for name in names:
            path = Path(staging) / name
            if not path.is_file() or sha256_file(path) != told.get(name):
                raise _refusal(connection, folder, f"{name} is not whole")
        for name in names:
            (Path(staging) / name).replace(local_dir / name)


def _unpack(stream: IO[bytes], staging: Path, names: Sequence[str]) -> None:
    """Regular files of these names; their content alone is taken."""
    left = MOST_BYTES
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            left -= member.size
            if member.name not in names or not member.isreg() or left < 0:
                raise tarfile.TarError("it sends what was not asked for")
            content = archive.extractfile(member)
            assert content is not None
            with (staging / member.name).open("xb") as file:
                shutil.copyfileobj(content, file)


def _refusal(connection: Connection, folder: str, why: str) -> MissingError:
    return MissingError(f"{connection.address} did not send {folder}: {why}", "repeat the command.")
