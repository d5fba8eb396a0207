"""Power is lost at any write: what was not synced is empty, and all goes on to the same end."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.weights import weights_digest
from tests.files.commands import lay_out, run_command
from tests.files.faults import Fault


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
    command: str, prepared: Path, pool: ProcessPoolExecutor, root: Path, moments: list[int] | None
) -> None:
    """Lose power at each of these writes (None: at every third), and repeat the command."""
    lay_out(prepared, root, before=False)
    told = pool.submit(run_command, command, root, None, 300).result(320)
    assert told.code == 0, told.err
    expected, count = ended(root / "work"), len(told.moments)
    assert expected
    for moment in range(0, count, 3) if moments is None else [m % count for m in moments]:
        shutil.rmtree(root)
        lay_out(prepared, root, before=False)
        lost = pool.submit(run_command, command, root, Fault("no power", moment), 300).result(320)
        assert lost.code not in (0, 70), lost.err
        again = pool.submit(run_command, command, root, None, 300).result(320)
        assert again.code == 0, f"{command}, {told.moments[moment]}: {again.err}"
        assert ended(root / "work") == expected, told.moments[moment]


def test_training_goes_on_to_the_same_end_after_a_loss_of_power(
    prepared: Path, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    goes_on("train", prepared, pool, tmp_path / "root", [-1])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "prune", "quantize", "run"])
def test_power_is_lost_at_any_write_and_the_end_is_the_same(
    prepared: Path, pool: ProcessPoolExecutor, tmp_path: Path, command: str
) -> None:
    goes_on(command, prepared, pool, tmp_path / "root", None)
