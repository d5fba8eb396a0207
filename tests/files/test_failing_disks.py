"""A disk that is full, read-only or failing at any write of any command: one message, nothing lost.

Each command is run once and its writes are counted; then once for each, from which on the disk
fails, or power is lost: what was not synced is empty, and all goes on to the same end. What comes
first of that is tried by default, all of it by ``pytest -m slow``. All is in one file, so that one
of several workers begins the process, of which each try is a copy.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.weights import weights_digest
from tests.files.commands import (
    COMMANDS,
    OUTPUTS,
    Tries,
    lay_out,
    run_command,
)
from tests.files.faults import Fault, Kind, Outcome

pytestmark = pytest.mark.skipif(
    not hasattr(sys, "addaudithook") or sys.platform == "win32", reason="Windows cannot fork"
)
Try = Callable[..., tuple[Outcome, Path]]


@pytest.fixture
def attempt(prepared: Path, tries: Tries, tmp_path: Path) -> Try:
    """Runs a command in a new folder; its outcome, and the folder."""
    count = [0]

    def run(command: str, fault: Fault | None = None, before: bool = True) -> tuple[Outcome, Path]:
        count[0] += 1
        root = tmp_path / str(count[0])
        lay_out(prepared, root, before=before and command != "recipes" and command != "run")
        return tries.call(run_command, command, root, fault, 300), root

    return run


def hashes(folder: Path) -> dict[str, str]:
    """What lies in a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check(command: str, told: Outcome, root: Path, prepared: Path, fault: Fault) -> None:
    """One message with its fix, or a whole result; nothing half, and the rest as it was."""
    about = f"{command} {fault}: exit {told.code}\n{told.err}"
    assert told.code in (0, 2, 3), about
    assert "Traceback" not in told.err, about
    if told.code:
        assert told.err.count("\nfix: ") == 1, about
    work, before = root / "work", prepared / "work"
    names = {path.name for path in work.rglob("*")}
    assert not [name for name in names if ".partial" in name or name.endswith(".old")], about
    assert not [path for path in (root / "tmp").iterdir() if path.name.startswith("edge")], about
    kept = hashes(before)
    now = hashes(work)
    given = {n: h for n, h in kept.items() if n.split("/")[0] not in ("before", "bundle")}
    assert {n: now.get(n) for n in given} == given, about
    if (work / "out").is_dir() and command != "run":
        load_bundle(work / "out")
    for path in work.rglob("*.pt"):
        load_checkpoint(path) if path.name in OUTPUTS else None
    if (work / "out.json").is_file():
        assert (work / "out.json").read_text().endswith("}\n"), about


def faults_of(counted: Outcome, kinds: tuple[Kind, ...]) -> list[Fault]:
    """Each kind at each write that differs: no file twice, and what grows only where it opens."""
    first = {moment: n for n, moment in reversed([*enumerate(counted.moments)])}
    last = {moment: n for n, moment in enumerate(counted.moments)}
    opened = {n for (event, _), n in first.items() if event == "open"}
    which = {
        "full": opened,
        "half": opened,
        "no sync": {n for n in last.values() if n not in opened},
    }
    return [Fault(kind, n, 100) for kind in kinds for n in sorted(which.get(kind, first.values()))]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("recipes", Fault("full", 3)),
        ("recipes", Fault("read-only", 0)),
        ("inspect", Fault("half", 1, 10)),
        ("inspect", Fault("no sync", 1)),
        ("devices", Fault("full", 0)),
        ("build", Fault("no files", 1)),
        ("evaluate", Fault("read-only", 1)),
        ("evaluate", Fault("full", 1)),
        ("quantize", Fault("full", 2)),
    ],
    ids=str,
)
def test_a_disk_that_fails_is_one_message_and_nothing_is_lost(
    attempt: Try, prepared: Path, command: str, fault: Fault
) -> None:
    told, root = attempt(command, fault)
    check(command, told, root, prepared, fault)
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_fails_at_any_write_is_one_message_and_nothing_is_lost(
    attempt: Try, prepared: Path, command: str
) -> None:
    counted, root = attempt(command)
    assert counted.code == 0, counted.err
    assert counted.moments
    shutil.rmtree(root)
    codes: dict[int, int] = {}
    wrong = []
    for fault in faults_of(counted, ("full", "half", "no files", "read-only", "no sync")):
        told, root = attempt(command, fault)
        try:
            check(command, told, root, prepared, fault)
        except Exception as error:
            wrong.append(f"{fault}: {error!s:.3000}")
        codes[told.code] = codes.get(told.code, 0) + 1
        shutil.rmtree(root)
    print(f"{command}: {len(counted.moments)} moments, exit codes {codes}")
    assert not wrong, f"{len(wrong)} of {sum(codes.values())}:\n" + "\n\n".join(wrong)


def ended(work: Path) -> dict[str, str]:
    """The weights of each checkpoint that a command has written, and each model's bytes.

    What was half written when the power went lies under hidden names, until it is an hour old.
    """
    checkpoints = [*work.glob("out.pt"), *work.glob("out/*/checkpoint.pt")]
    digests = {p.relative_to(work).as_posix(): _digest(p) for p in sorted(checkpoints)}
    models = sorted(work.glob("out/*/[!.]*/model.onnx"))
    return digests | {p.relative_to(work).as_posix(): p.read_bytes().hex() for p in models}


def _digest(path: Path) -> str:
    return weights_digest(load_checkpoint(path).state_dict)


def goes_on(
    command: str, prepared: Path, tries: Tries, root: Path, moments: list[int] | None
) -> None:
    """Lose power at each of these writes (None: at every third), and repeat the command."""
    lay_out(prepared, root, before=False)
    told = tries.call(run_command, command, root, None, 300)
    assert told.code == 0, told.err
    expected, count = ended(root / "work"), len(told.moments)
    assert expected
    for moment in range(0, count, 3) if moments is None else [m % count for m in moments]:
        shutil.rmtree(root)
        lay_out(prepared, root, before=False)
        lost = tries.call(run_command, command, root, Fault("no power", moment), 300)
        assert lost.code not in (0, 70), lost.err
        again = tries.call(run_command, command, root, None, 300)
        assert again.code == 0, f"{command}, {told.moments[moment]}: {again.err}"
        assert ended(root / "work") == expected, told.moments[moment]


def test_training_goes_on_to_the_same_end_after_a_loss_of_power(
    prepared: Path, tries: Tries, tmp_path: Path
) -> None:
    goes_on("train", prepared, tries, tmp_path / "root", [-1])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "prune", "quantize", "run"])
def test_power_is_lost_at_any_write_and_the_end_is_the_same(
    prepared: Path, tries: Tries, tmp_path: Path, command: str
) -> None:
    goes_on(command, prepared, tries, tmp_path / "root", None)
