"""A real sshd on loopback, as the current user, with keys of its own; and an ssh that knows it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

PROGRAMS = ("ssh", "ssh-keygen", "rsync")


@dataclass(frozen=True)
class Device:
    """The other machine, which is this one.

    Attributes:
        address: for ``--on``.
        cache: where edgeresnet puts its files there.
        bin: is first in PATH of both sides.
        pid: of the listening sshd.
    """

    address: str
    cache: Path
    bin: Path
    pid: int

    def sessions(self) -> list[int]:
        """Processes of connections that stand now."""
        return children(self.pid)

    def cut(self) -> None:
        """Break every connection, as a pulled cable or a reboot would."""
        for pid in [p for s in self.sessions() for p in (*children(s), s) if is_sshd(p)]:
            os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return found


def is_sshd(pid: int) -> bool:
    """A part of sshd, not what runs in its sessions."""
    try:
        return b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b" ")[0]
    except OSError:
        return False


def running(*words: str) -> list[int]:
    """Processes of Python whose command lines have all these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "python" in text.split(" ")[0] and all(word in text for word in words):
            found.append(int(path.parent.name))
    return found


@contextmanager
def sshd(folder: Path) -> Iterator[Device]:
    """Start it, and stop it with all its connections."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert server, "sudo apt-get install openssh-server openssh-client rsync"
    assert all(map(shutil.which, PROGRAMS)), "sudo apt-get install openssh-client rsync"
    if os.getuid() == 0:
        # What the system's start script makes for an sshd that runs as root.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    cache, bin_dir = folder / "cache", folder / "bin"
    bin_dir.mkdir()
    # Without whatever the user's own shell does first: it may take longer than the command.
    home = folder / "home"
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    (folder / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv HOME={home} PATH={path} XDG_CACHE_HOME={cache} OMP_NUM_THREADS=1
"""
    )
    (folder / "ssh_config").write_text(
        f"""Host device
  HostName 127.0.0.1
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
Host behind
  HostName 127.0.0.1
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  ProxyJump {getuser()}@device:{port}
"""
    )
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    # Stands for the user's ~/.ssh/config, which a test must not touch.
    client = bin_dir / "ssh"
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    client.chmod(0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log
        )
    device = Device(f"ssh://{getuser()}@device:{port}", cache, bin_dir, process.pid)
    try:
        wait_for(lambda: _answers(port), f"sshd: {(folder / 'log').read_text()}")
        yield device
    finally:
        device.cut()
        process.terminate()
        process.wait()


def wait_for(condition: object, what: str, seconds: float = 60.0) -> None:
    """Until the condition holds; AssertionError says what did not."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
