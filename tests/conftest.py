"""Small networks and the command line, shared by all tests."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeresnet.device.machine.cpu import default_threads
from tests import copies
from tests.copies import REPOSITORY

# The process that hands tests to others imports no more than this; PyTorch is imported by what
# needs it.
if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint
    from tests.forked import ForkedCommands

# Names the folder in which all processes of one run of the tests keep graphs.
GRAPHS = "EDGERESNET_TEST_GRAPHS"
DEFAULT_TESTS = ("not slow and not gpu and not device", "not slow")
# Side by side: each takes up to 2 GB.
MOST_PROCESSES = 4


def threads_each(processes: int) -> int:
    """Of PyTorch: processes that each take all cores wait for each other."""
    return max(1, default_threads() // processes)


if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Set before torch is imported, here and in every command.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_each(int(workers))))

# Tests begin many a Python, which each would compile PyTorch and all else anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """All default tests, when no path is given, go side by side; ``-n 0`` has them in one process.

    One file at a time in each process, so that a test's fixtures stay together, and in the order of
    folders: those with the fewest tests, which would begin last, are the longest.
    """
    told = config.option
    default = config.args_source is config.ArgsSource.TESTPATHS and told.markexpr in DEFAULT_TESTS
    here = hasattr(config, "workerinput") or told.collectonly or told.usepdb
    if default and not here and default_threads() > 1 and getattr(told, "numprocesses", 0) is None:
        told.numprocesses = min(default_threads(), MOST_PROCESSES)
        told.dist, told.loadscopereorder = "loadfile", False


def pytest_configure(config: pytest.Config) -> None:
    """Before there are workers, which all have this: a folder for graphs, and what is copied."""
    if GRAPHS not in os.environ:
        os.environ[GRAPHS] = tempfile.mkdtemp(prefix="graphs-of-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(GRAPHS)))
    config.add_cleanup(copies.end)
    if (processes := config.getoption("numprocesses", None)) and hasattr(os, "fork"):
        # Workers collect tests meanwhile.
        copies.begin(threads_each(processes))


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: Python need not look through it for garbage."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """What is never freed is told at Python's end by some packages."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Golden checks must not be remembered from one run of the tests to the next."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def quick_exports() -> Iterator[None]:
    from tests.graphs import keep_operators, remembered_graphs
    from tests.networks import remembered_networks
    from tests.reads import remembered_reads

    keep_operators()
    with remembered_graphs(), remembered_networks(), remembered_reads():
        yield


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    from tests.short import shorten

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture
def drawn_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of pages are drawn, as they are for users."""
    from tests.short import DRAWING, draw

    for module in DRAWING:
        monkeypatch.setattr(module, "svg_of", draw)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    from tests.small_checkpoints import SLIM, make_checkpoint

    return make_checkpoint(widths=SLIM)


@pytest.fixture(scope="session")
def int8_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
    from edgeresnet.progress import TaskContext
    from edgeresnet.settings.quantization import QuantizeOptions

    options = QuantizeOptions(method="ptq", calibration_images=32)
    return quantize_checkpoint(
        checkpoint, options=options, context=TaskContext(data="digits", limit=64)
    )[0]


@pytest.fixture(scope="session")
def files(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint, int8_checkpoint: Checkpoint
) -> Path:
    """A folder with float.pt, int8.pt and the four bundles TARGET-PRECISION."""
    from edgeresnet.host.export.export_bundle import export_bundle
    from edgeresnet.host.models.checkpoint import save_checkpoint
    from tests.small_checkpoints import CPU_TARGETS

    folder = tmp_path_factory.mktemp("files")
    save_checkpoint(checkpoint, folder / "float.pt")
    save_checkpoint(int8_checkpoint, folder / "int8.pt")
    for target in CPU_TARGETS:
        for precision, source in (("fp32", checkpoint), ("int8", int8_checkpoint)):
            export_bundle(
                source, target=target, precision=precision, out_dir=folder / f"{target}-{precision}"
            )
    return folder


CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def forked() -> Iterator[ForkedCommands]:
    """A process that has imported all, and of which each command line is a copy."""
    from tests.forked import ForkedCommands

    with ForkedCommands() as started:
        yield started


@pytest.fixture
def edgeresnet(tmp_path: Path, request: pytest.FixtureRequest) -> CommandLine:
    """Runs the command line in a process of its own, in an empty folder.

    With ``fresh``, and with ``before``, which is run first, that is a new Python, where nothing is
    imported yet. ``changed`` is run first where all is imported.
    """

    from tests.forked import COLUMNS

    def run(
        *arguments: object,
        before: str = "",
        changed: str = "",
        fresh: bool = False,
        timeout: int = 300,
    ) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": COLUMNS}
        if not (before or fresh) and hasattr(os, "fork"):
            started: ForkedCommands = request.getfixturevalue("forked")
            return started.run(
                words, cwd=tmp_path, env=environment, timeout_s=timeout, changed=changed
            )
        code = f"{before}{changed}\nfrom edgeresnet.cli.app import main\nmain()"
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, cwd=tmp_path, check=False, timeout=timeout,
            env=environment,
        )  # fmt: skip

    return run


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process, which is quick: exit code, stdout and stderr."""
    from edgeresnet.cli.app import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgeresnet", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            code = 0 if end.code is None else int(end.code)
        else:
            code = 0
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
