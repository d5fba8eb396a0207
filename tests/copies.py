"""One process that imports all and computes nothing, and copies of it: importing takes seconds.

It is begun once for a run of the tests. Whatever needs a process with everything imported asks it
for a copy, in which a function of the tests is called: it reads lines and answers them. What is
imported has begun no thread that a copy would miss.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from edgeresnet.closing import Closing

REPOSITORY = Path(__file__).parent.parent
# Names the socket at which copies are asked for, in all processes of one run of the tests.
ADDRESS = "EDGERESNET_TEST_COPIES"
IMPORTED = (
    "torch", "torchvision", "onnx", "onnxruntime", "openvino", "sklearn.datasets", "filelock",
    "jinja2", "matplotlib.figure", "matplotlib.backends.backend_svg", "networkx",
    "torch.onnx._internal.exporter._compat", "tests.graphs", "tests.networks", "tests.reads",
    "tests.short",
)  # fmt: skip
# A process that is alone imports nothing of what several do together; that is tested.
LEFT_OUT = "edgeresnet.host.parallel."
PILLOW = "PIL.Image"


class Imported(Closing):
    """The process that has imported all; a context manager.

    Args:
        threads: that PyTorch uses in its copies; None: as it finds them.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="copies-")
        self.address = str(Path(self._folder) / "asked")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.address)
            listening.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"import tests.copies as c; c.serve({listening.fileno()})"],
                stdin=subprocess.PIPE, pass_fds=[listening.fileno()],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
                | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
            )  # fmt: skip

    def close(self) -> None:
        """End the process; copies end when those who asked for them have closed them."""
        self._process.communicate(timeout=60)
        shutil.rmtree(self._folder)


_begun: list[Imported] = []


def begin(threads: int | None = None) -> None:
    """Begin the process for all that run tests with this one, unless it is there."""
    if ADDRESS not in os.environ:
        _begun.append(Imported(threads))
        os.environ[ADDRESS] = _begun[0].address


def end() -> None:
    """End it, where it was begun here."""
    while _begun:
        del os.environ[ADDRESS]
        _begun.pop().close()


class Copy(Closing):
    """A function of the tests, called in a copy; its stdin and stdout are lines sent and got.

    Args:
        function: its module and name, as ``tests.forked:serve``; when it returns the copy ends.
        env: all of its environment; None: of this process.
        cwd: where it is; None: where this process is.
    """

    def __init__(
        self, function: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        begin()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ[ADDRESS])
        self._lines = self._socket.makefile("r", encoding="utf-8")
        environment = dict(os.environ if env is None else env)
        asked = {"function": function, "env": environment, "cwd": str(cwd or Path.cwd())}
        self._tell(json.dumps(asked))

    def answer(self, line: str) -> str:
        """What it answers to a line.

        Raises:
            AssertionError: the copy has ended.
        """
        try:
            self._tell(line)
            answer = self._lines.readline()
        except ConnectionError:
            answer = ""
        assert answer, "the copy has ended"
        return answer

    def _tell(self, line: str) -> None:
        self._socket.sendall(f"{line}\n".encode())

    def close(self) -> None:
        """At the end of what it reads it ends."""
        self._lines.close()
        self._socket.close()


def serve(number: int) -> NoReturn:
    """Import all, and make a copy for each connection to the socket of this number."""
    for name in IMPORTED:
        import_module(name)
    import edgeresnet

    for module in pkgutil.walk_packages(edgeresnet.__path__, "edgeresnet."):
        if not module.name.endswith(("__main__", "example")) and LEFT_OUT not in module.name:
            import_module(module.name)
    # What is opened first asks for all kinds of images.
    import_module(PILLOW).init()
    # Nor do the copies look through it, which would also copy the memory that they share.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(fileno=number)
    while True:
        ready, _, _ = select.select([0, listening], [], [])
        if 0 in ready:
            # Whoever began it has closed it, or is no more.
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _become(connection)
        connection.close()


def _become(connection: socket.socket) -> NoReturn:
    """Call the function that is asked for, and end without the seconds in which all is freed."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        sys.stdin = connection.makefile("r", encoding="utf-8")
        sys.stdout = connection.makefile("w", encoding="utf-8")
        asked = json.loads(sys.stdin.readline())
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        tempfile.tempdir = None
        module, name = asked["function"].split(":")
        getattr(import_module(module), name)()
        sys.stdout.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
