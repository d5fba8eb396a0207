"""A connection to another machine by the user's own OpenSSH: its config, keys and jump hosts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from typing_extensions import Self

from edgeresnet.closing import Closing, ends_with_us, temporary_folder
from edgeresnet.errors import InputError, MissingError
from edgeresnet.remote import probe
from edgeresnet.remote.answers import MOST_LINES, between, listen, marked, parsed, read_answer

T = TypeVar("T")

# What ssh itself exits with, and what it makes of a command that a signal ended.
SSH_FAILED = 255
# A link that died without a word is noticed after a minute.
KEEP_ALIVE = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
ADDRESS_FIX = "give it as --on ssh://user@host, or ssh://user@host:port."


@dataclass(frozen=True)
class Address:
    """Where a device is; what is None is left to the user's ssh config."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """``ssh://[user@]host[:port]``; InputError says what is wrong with another text."""
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            raise InputError(f"--on {text} is not an address: {error}", ADDRESS_FIX) from error
        if url.scheme != "ssh" or not url.hostname:
            raise InputError(f"--on {text} is not an address of ssh", ADDRESS_FIX)
        if url.password is not None:
            raise InputError(
                f"--on ssh://{url.username}:…@{url.hostname} has a password in it",
                "leave it out; ssh asks for it, or uses your keys.",
            )
        if url.path.strip("/") or url.query or url.fragment:
            raise InputError(f"--on {text} goes on behind the host", ADDRESS_FIX)
        # urlsplit lowers the host's case; an alias in ssh's config may have capitals.
        named = re.search(re.escape(url.hostname), url.netloc.rpartition("@")[2], re.I)
        host = named[0] if named else url.hostname
        for part in (host, url.username or "x"):
            # ssh would take it for an option, or its config for a command.
            if not re.fullmatch(r"[\w:.%][\w:.%-]*", part):
                raise InputError(f"--on {text}: {part!r} is no name", ADDRESS_FIX)
        return cls(host, url.username, port)

    def __str__(self) -> str:
        return self.host

    def options(self) -> list[str]:
        """For ssh, before the host."""
        user = ["-l", self.user] if self.user else []
        return [*user, *(["-p", str(self.port)] if self.port else [])]


class Connection(Closing):
    """A context manager: commands in it share one authenticated connection.

    Raises:
        MissingError: no ssh here, or the device does not let us in.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._folder = temporary_folder()
        self._socket = Path(self._folder.name) / "s"
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if shutil.which("ssh") is None:
            raise MissingError(
                "--on needs OpenSSH's ssh, which is not here", "sudo apt-get install openssh-client"
            )
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        return self

    def _connect(self) -> None:
        told_path = Path(self._folder.name) / "told"
        with told_path.open("wb") as told:
            # A password or a new host's key is asked for on the terminal, not on these. However
            # this process ends, its end of the pipe is closed then, and so is the connection.
            self._master = subprocess.Popen(
                ["ssh", "-M", "-S", str(self._socket), *KEEP_ALIVE, *self.address.options(),
                 "--", self.address.host, "cat"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=told,
            )  # fmt: skip
            ends_with_us(self._master)
        while not self._socket.exists():
            if self._master.poll() is not None:
                lines = told_path.read_text(errors="replace").split("\n")
                reason = next((line.strip() for line in reversed(lines) if line.strip()), "")
                raise MissingError(
                    f"cannot connect to {self.address}: {reason}",
                    f"make this work first: ssh {shlex.join(self.address.options())} "
                    f"{self.address.host} true",
                )
            time.sleep(0.02)

    def close(self) -> None:
        """Give back what is held."""
        self._close()

    def _close(self) -> None:
        if self._master is not None:
            assert self._master.stdin is not None
            self._master.stdin.close()
            self._master.terminate()
            self._master.wait()
        self._folder.cleanup()

    def ssh_options(self) -> list[str]:
        """What makes an ssh use this connection, and fail rather than make one of its own."""
        shared = ["-S", str(self._socket), "-o", "ProxyCommand=false"]
        return [*shared, *self.address.options()]

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command there, with pipes for all three streams."""
        return subprocess.Popen(
            ["ssh", *self.ssh_options(), "--", self.address.host, shlex.join(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, arguments: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes | None, str]:
        """Run a command there.

        Returns:
            (exit code, stdout, stderr); stdout is None if it did not come to its end.

        Raises:
            MissingError: the connection is gone, or it prints without end.
        """
        command, marker = marked(arguments)
        lines: deque[str] = deque(maxlen=MOST_LINES)
        process = self.start(command)
        output = listen(
            process, self.address, lines.append, read_answer, lambda pipe: pipe.write(stdin)
        )
        self.check(process.returncode, "preparing")
        return process.returncode, between(output, marker), "\n".join(lines)

    def run_probe(self, kind: type[T], python: str, *arguments: str) -> T | None:
        """Run one action of `edgeresnet.remote.probe` there; None if that Python cannot.

        Args:
            kind: schema of what it prints.
            python: that runs it.
            arguments: the action, and what it is given.

        Raises:
            MissingError: what came back is something else.
        """
        source = Path(probe.__file__).read_bytes()
        code, output, _ = self.call([python, "-", *arguments], source)
        return parsed(output, kind, self.address) if code == 0 else None

    def stream(
        self, arguments: Sequence[str], on_line: Callable[[str], object], what: str
    ) -> tuple[int, bytes | None]:
        """Run a command there that lives as long as its stdin.

        Args:
            arguments: of the command.
            on_line: called with each line of its stderr as it comes.
            what: it does, for a message.

        Returns:
            (exit code, stdout); stdout is None if it did not come to its end.

        Raises:
            MissingError: the connection broke, the command was killed, or it prints without end.
        """
        command, marker = marked(arguments)
        process = self.start(command)
        assert process.stdin is not None
        try:
            output = listen(process, self.address, on_line, read_answer)
        finally:
            # On an interrupt too: the command there ends when this does.
            process.stdin.close()
            process.terminate()
            process.wait()
        self.check(process.returncode, what)
        return process.returncode, between(output, marker)

    def check(self, code: int, what: str) -> None:
        """MissingError if a command ended because the connection did, or by a signal."""
        if code <= 128:
            return
        if code == SSH_FAILED and not self.alive():
            raise MissingError(
                f"the connection to {self.address} was lost while {what}",
                "repeat the command: nothing half-done was kept, and what was copied stays.",
            )
        raise MissingError(
            f"{self.address} killed the command while {what}",
            "look at its free memory (free -m) and its log (sudo dmesg), and repeat the command.",
        )

    def alive(self) -> bool:
        """Whether the shared connection still stands."""
        asked = subprocess.run(
            ["ssh", "-O", "check", *self.ssh_options(), "--", self.address.host],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return asked.returncode == 0
