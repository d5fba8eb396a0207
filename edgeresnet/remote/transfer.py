"""What travels to a device: which files, and how only those go that are not there yet."""

from __future__ import annotations

import glob
import os
import platform
import shlex
import subprocess
import sys
import tarfile
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import IO

import edgeresnet
from edgeresnet.closing import ends_with_us, temporary_folder
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.targets.model_files import is_model_file, reader_of
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.device.targets.stranger import check_beside
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes, sha256_file
from edgeresnet.remote import probe
from edgeresnet.remote.answers import MOST_LINES, Hash, listen, read_answer
from edgeresnet.remote.ssh import Connection


@dataclass(frozen=True)
class Parcel:
    """Files that shall lie in one folder of the device, and nothing else with them.

    Attributes:
        place: of the folder, below the device's cache.
        files: path in the folder, and where the file is here.
        folders: that exist even if they are empty.
        exact: remove what else lies there.
        kept: but nothing in folders of this pattern, which belong to the device; one of the place
            itself begins with ``/``, others are of any depth.
    """

    place: str
    files: Mapping[str, Path]
    folders: tuple[str, ...] = ()
    exact: bool = True
    kept: str | None = None

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def keeps(self, name: str) -> bool:
        """Whether this file of the device is in a folder that belongs to it."""
        if self.kept is None:
            return False
        pattern = self.kept if self.kept.startswith("/") else f"*/{self.kept}"
        return fnmatchcase(f"/{name}", f"{pattern}/*")


def package_parcel() -> Parcel:
    """This very edgeresnet, so that both ends always have the same one."""
    package_dir = Path(edgeresnet.__file__).parent
    files = {
        f"{package_dir.name}/{path.relative_to(package_dir).as_posix()}": path
        for path in package_dir.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # With its metadata beside it, it is installed as far as Python can tell.
    for entry in metadata.files("edgeresnet") or ():
        if entry.name == "METADATA":
            path = Path(str(entry.locate()))
            files[f"{path.parent.name}/METADATA"] = path
    # Without what it has compiled there, each command would begin with seconds of compiling.
    return Parcel(f"package/{key_of(package_dir)}", files, kept="__pycache__")


def model_parcel(path: Path) -> tuple[Parcel, str, str]:
    """A bundle or a bare model file.

    Returns:
        (parcel, name of the model in it, target).

    Raises:
        InputError: there is no model, or it is a checkpoint.
    """
    place, name = f"models/{key_of(path)}", path.resolve().name
    if path.is_dir() or (path / MANIFEST).is_file():
        manifest = load_bundle(path).manifest
        # Opening it has refused links. An engine or an example that was removed is not missed.
        names = [MANIFEST, *(n for n in manifest.files if os.path.lexists(path / n))]
        files = {f"{name}/{n}": path / n for n in names}
        return Parcel(place, files, kept=f"/{glob.escape(name)}/{ENGINES}"), name, manifest.target
    if not path.is_file():
        raise InputError(f"{path} does not exist", "give a bundle, or an .onnx or .xml file.")
    if not is_model_file(path):
        raise InputError(
            f"{path} cannot be measured on another machine",
            "a checkpoint needs torch: export it to a bundle first.",
        )
    target, own = reader_of(path)
    beside = [n for n in own.beside(path) if os.path.lexists(path.parent / n)]
    # As when it is opened here: a cache of downloads keeps its files behind links.
    files = {path.name: path, **{n: check_beside(path, n)[0] for n in beside}}
    return Parcel(place, files), name, target.spec.name


def send(
    connection: Connection, parcel: Parcel, remote_root: str, python: str, rsync: bool
) -> None:
    """Make the device's folder what the parcel says.

    Args:
        connection: to the device.
        parcel: what to send.
        remote_root: of the device's cache.
        python: a Python there.
        rsync: whether the device has rsync.

    Raises:
        MissingError: the connection broke, or the device could not take it.
    """
    folder = f"{remote_root}/{parcel.place}"
    code, _, errors = connection.call(["mkdir", "-p", folder])
    _check_taken(connection, code, errors.splitlines())
    if rsync and probe.has_rsync():
        _send_rsync(connection, parcel, folder)
    else:
        _send_tar(connection, parcel, folder, python)


def _send_rsync(connection: Connection, parcel: Parcel, folder: str) -> None:
    with temporary_folder() as staging:
        # Not the folder itself, which holds its lock.
        stage_dir = Path(staging) / "files"
        stage_dir.mkdir()
        for sub in parcel.folders:
            (stage_dir / sub).mkdir(parents=True, exist_ok=True)
        for name, path in parcel.files.items():
            (stage_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (stage_dir / name).symlink_to(path.resolve())
        removal = ["--delete"] if parcel.exact else []
        kept = [f"--filter=protect {parcel.kept}/***"] if parcel.kept else []
        shell = shlex.join(["ssh", *connection.ssh_options()])
        host = connection.address.host
        place = f"[{host}]:{folder}/" if ":" in host else f"{host}:{folder}/"
        shown = ["--info=progress2"] if sys.stderr.isatty() else []
        process = subprocess.Popen(
            ["rsync", "-rtLs", *removal, *kept, *shown, "-e", shell, f"{stage_dir}/", place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        ends_with_us(process)
        lines: deque[str] = deque(maxlen=MOST_LINES)
        take = _show if shown else read_answer
        try:
            listen(process, connection.address, lines.append, take, lambda pipe: None)
        finally:
            # On an interrupt too: what it copies from is gone with this folder.
            process.kill()
    if process.returncode and not connection.alive():
        connection.check(255, "copying")
    _check_taken(connection, process.returncode, lines)


def _show(stream: IO[bytes]) -> None:
    """rsync's own progress, which it writes over and over."""
    while signs := os.read(stream.fileno(), 1 << 16):
        sys.stderr.buffer.write(signs)
        sys.stderr.flush()


def _send_tar(connection: Connection, parcel: Parcel, folder: str, python: str) -> None:
    there = connection.run_probe(dict[str, Hash], python, "hashes", folder) or {}
    stale = [name for name in there if name not in parcel.files and not parcel.keeps(name)]
    if parcel.exact and stale:
        names = b"\0".join(f"{folder}/{name}".encode(errors="surrogateescape") for name in stale)
        connection.call(["xargs", "-0", "rm", "-f", "--"], names)
    wanted = {n: p for n, p in parcel.files.items() if there.get(n) != sha256_file(p)}

    def write(pipe: IO[bytes]) -> None:
        with tarfile.open(fileobj=pipe, mode="w|", dereference=True) as archive:
            for sub in parcel.folders:
                entry = tarfile.TarInfo(sub)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            for name, path in wanted.items():
                archive.add(path, name)

    process = connection.start(["tar", "-xf", "-", "-C", folder])
    lines: deque[str] = deque(maxlen=MOST_LINES)
    listen(process, connection.address, lines.append, read_answer, write)
    connection.check(process.returncode, "copying")
    _check_taken(connection, process.returncode, lines)


def _check_taken(connection: Connection, code: int, errors: Iterable[str]) -> None:
    if code:
        reason = ([line for line in errors if line.strip()] or [f"exit code {code}"])[-1]
        raise MissingError(
            f"{connection.address} does not take the files: {reason}",
            "make room on it (df -h), then repeat the command.",
        )


def key_of(path: Path) -> str:
    """The same for the same place of the same machine, so that only changes travel."""
    name = f"{platform.node()}\n{path.resolve()}"
    return sha256_bytes(name.encode())[:12]
