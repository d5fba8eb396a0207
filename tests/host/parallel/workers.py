"""Tasks done by one or by several processes, which are copies of one that has imported all."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from edgeresnet.closing import Closing
from tests.copies import Copy
from tests.forked import end_after

LIMIT_S = 120


class Workers(Closing):
    """Does tasks of `tests.host.parallel.tasks`; a context manager.

    Args:
        folder: for what comes back.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._asked = folder, 0
        self._copy = Copy("tests.host.parallel.workers:serve")

    def outcomes(self, task: str, count: int, **arguments: Any) -> list[tuple[int, Any, str]]:
        """Of each process its exit code, what the task gave, and its stderr.

        Args:
            task: name of a function.
            count: of processes; 1 is told nothing of others.
            arguments: plain values.
        """
        self._asked += 1
        place = self._folder / str(self._asked)
        place.mkdir()
        line = json.dumps([task, count, _free_port(), str(place), arguments])
        codes = json.loads(self._copy.answer(line))
        found = []
        for rank, code in enumerate(codes):
            path = place / f"{rank}.result"
            value = pickle.loads(path.read_bytes()) if path.is_file() else None
            found.append((code, value, (place / f"{rank}.err").read_text()))
        return found

    def done(self, task: str, count: int, **arguments: Any) -> list[Any]:
        """What the task gave in each process; all of them have to end well."""
        found = self.outcomes(task, count, **arguments)
        assert [code for code, _, _ in found] == [0] * count, [err for _, _, err in found]
        return [value for _, value, _ in found]

    def close(self) -> None:
        """End the process that is copied."""
        self._copy.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def serve() -> None:
    """Fork for each line of stdin, and say the exit codes."""
    import torch

    from tests.host.parallel import tasks

    torch.set_num_threads(1)

    for line in sys.stdin:
        task, count, port, place, arguments = json.loads(line)
        work = getattr(tasks, task)
        children = []
        for rank in range(count):
            if (child := os.fork()) == 0:
                _become(rank, count, port, Path(place), lambda: work(**arguments))  # noqa: B023
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _become(rank: int, count: int, port: int, place: Path, work: Callable[[], Any]) -> NoReturn:
    signal.alarm(LIMIT_S)
    for number, name in ((1, f"{rank}.out"), (2, f"{rank}.err")):
        opened = os.open(place / name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if count > 1:
        told = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
        os.environ.update({name: str(value) for name, value in told.items()})

    def told() -> None:
        (place / f"{rank}.result").write_bytes(pickle.dumps(work()))

    end_after(told)
