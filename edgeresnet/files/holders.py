"""Which process this is, written so that another, elsewhere too, can say whether it has ended."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edgeresnet.files.places import shortened

# What a record may have; it lies in folders into which others may write.
MOST_BYTES = 8192
# Field 22 of /proc/PID/stat, counted behind the name, which may hold spaces and brackets.
START_TICKS = 19


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        pid: its number, in ``space``.
        host: name of the machine.
        space: in which numbers of processes mean something: the machine's boot, and the container.
        ticks: when the process began, by the machine's clock: numbers are used again.
        since: when it took the lock, for the user.
        command: as it was called.
    """

    pid: int
    host: str
    space: str
    ticks: str
    since: str
    command: str

    def to_json(self) -> str:
        """As it is written beside the lock."""
        return json.dumps(asdict(self)) + "\n"

    def ended(self) -> bool:
        """Whether it surely runs no more; False where that cannot be told from here."""
        if self.host != socket.gethostname():
            return False
        if self.space.split()[:1] != _space().split()[:1]:
            return bool(self.space)
        if self.space != _space() or sys.platform == "win32":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            # It is another user's.
            pass
        return bool(self.ticks) and _ticks(self.pid) not in ("", self.ticks)

    def told(self) -> str:
        """For a message: ``process 12 on HOST (edgeresnet train …), since …``."""
        command = f" ({shortened(self.command)})" if self.command else ""
        return f"process {self.pid} on {self.host}{command}, since {self.since}"


def this_process() -> Holder:
    """This one, now."""
    return Holder(
        os.getpid(),
        socket.gethostname(),
        _space(),
        _ticks(os.getpid()),
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
    )


def read_holder(path: Path) -> Holder | None:
    """What `Holder.to_json` has written; None where nothing of the kind is."""
    with suppress(OSError, ValueError, TypeError):
        with path.open("rb") as file:
            content = json.loads(file.read(MOST_BYTES))
        holder = Holder(**content)
        kinds = {"int": int, "str": str}
        if all(type(getattr(holder, f.name)) is kinds[str(f.type)] for f in fields(holder)):
            return holder
    return None


def _space() -> str:
    """The machine's boot and the name space of processes; empty where the system has none."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _ticks(pid: int) -> str:
    """When a process began; empty where that cannot be seen."""
    with suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat[stat.rindex(b")") + 1 :].split()[START_TICKS].decode("ascii")
    return ""
