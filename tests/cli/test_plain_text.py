"""A terminal that lacks a sign gets plain letters for it, and a table that is still in line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeresnet.cli import plain_text
from edgeresnet.cli.app import COMMANDS
from edgeresnet.cli.output import speaker
from edgeresnet.files.writing import write_json
from edgeresnet.progress import TrainProgress
from edgeresnet.report.tables import compare_table, evaluate_table
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.copies import REPOSITORY
from tests.small_models import write_onnx

ROW = {
    "agreement": 1.0, "p50_ms": None, "p99_ms": 2.0, "speedup": None,
    "top1": 0.5, "top1_difference": {"value": 0.0, "low": -0.1, "high": 0.1},
}  # fmt: skip
COMPARED = {
    "data": "d", "n": 5, "batch": 1, "baseline": "a",
    "rows": [{"name": "a", **ROW}, {"name": "b", **ROW}],
}  # fmt: skip


class Kept(io.BytesIO):
    """Outlives the streams that others make around it."""

    def close(self) -> None:
        """Its content is still to be read."""


def ascii_streams(monkeypatch: pytest.MonkeyPatch) -> dict[str, io.BytesIO]:
    """Let stdout and stderr be those of a terminal that knows ASCII only."""
    told: dict[str, io.BytesIO] = {}
    for name in ("stdout", "stderr"):
        told[name] = Kept()
        monkeypatch.setattr(sys, name, io.TextIOWrapper(told[name], "ascii", write_through=True))
    plain_text.use_plain_text()
    return told


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_a_table_is_in_line_whatever_the_encoding_lacks(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    told = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(told, encoding, write_through=True))
    plain_text.use_plain_text()
    plain_text.make_console(stderr=False).print(compare_table(COMPARED))
    title, head, *rows = told.getvalue().decode(encoding).splitlines()
    assert title.startswith("Before and after")
    end = head.index("difference") + len("difference")
    assert [row[end] for row in rows] == [" ", " "]
    assert rows[1][:end].endswith("+/-0.1000" if encoding == "ascii" else "±0.1000")
    assert len({len(row) for row in [head, *rows]}) == 1


def test_names_that_no_encoding_has_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ascii_streams(monkeypatch)
    result = {
        "target": "t", "device": "cpu", "precision": "fp32", "n": 1, "top1": 1.0, "top5": 1.0,
        "top1_interval": [0.0, 1.0], "per_class": {"Zürich": 1.0, "\udcff": None},
    }  # fmt: skip
    plain_text.make_console(stderr=False).print(evaluate_table(result))
    text = told["stdout"].getvalue().decode("ascii")
    assert r"Z\xfcrich" in text
    assert r"\udcff" in text
    assert "Accuracy - t - cpu" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_printed_in_ascii(command: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from edgeresnet.cli.app import main

    told = ascii_streams(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["edgeresnet", command, "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert "Usage:" in told["stdout"].getvalue().decode("ascii")


def test_every_sign_of_ours_has_plain_letters() -> None:
    paths = (REPOSITORY / "edgeresnet/report").glob("*.py")
    texts = (path.read_text(encoding="utf-8") for path in paths)
    signs = {sign for text in texts for sign in text if not sign.isascii()}
    assert signs <= set(plain_text.PLAIN)
    assert all(letters.isascii() for letters in plain_text.PLAIN.values())


def test_progress_and_messages_are_printed_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from edgeresnet.progress import TrainProgress, images_progress

    monkeypatch.setenv("TERM", "xterm")
    told = ascii_streams(monkeypatch)
    console = Console(file=sys.stderr, force_terminal=True)
    with images_progress("evaluating ·", 10, console=console) as advance:
        advance(5)
    with TrainProgress(2, 10, console=console) as progress:
        progress.start_epoch(0, 0)
        progress.step(5, 0.1, 1.0, 0.5)
        progress.say("epoch …")
    text = told["stderr"].getvalue().decode("ascii")
    assert "evaluating -" in text
    assert "epoch ..." in text


def test_commands_speak_ascii_and_json_is_whole(tmp_path: Path) -> None:
    # Of ONNX, which is opened without the seconds that PyTorch takes to be imported.
    write_onnx(tmp_path / "Zürich.onnx", classes=2, shape=("N", 3, 8, 8))
    image_folder(tmp_path / "photos", ["Zürich", "b"], size=8)
    run = (sys.executable, "-m", "edgeresnet", "evaluate", "Zürich.onnx", "--data", "photos")
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii", "NO_COLOR": "1",
    }  # fmt: skip
    done = subprocess.run(
        [*run, "--json", "-"], capture_output=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Zürich" in json.loads(done.stdout.decode("ascii"))["per_class"]
    assert r"Z\xfcrich" in done.stderr.decode("ascii")


@pytest.mark.parametrize("arguments", [("--help",), ("recipes", "--schema"), ("inspect", "w.onnx")])
def test_a_closed_pipe_is_neither_fine_nor_a_missed_budget(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    write_onnx(tmp_path / "w.onnx")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "edgeresnet", *arguments], stdout=writer, stderr=subprocess.PIPE,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_name_that_is_no_text_is_told_in_an_error(command: Command, tmp_path: Path) -> None:
    code, _, err = command("inspect", os.fsdecode(os.fsencode(tmp_path) + b"/\xff.pt"))
    assert code == 2
    assert "does not exist" in err


STEERING = "\x1b[2J\x9b31m\x07\u202egnp.\u2066[bold]x[/bold]"
SHOWN = r"\x1b[2J\x9b31m\x07\u202egnp.\u2066[bold]x[/bold]"


def test_a_table_shows_names_that_would_steer_the_terminal_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = {
        "target": "t", "device": "cpu", "precision": STEERING, "n": 1, "top1": 1.0, "top5": 1.0,
        "top1_interval": [0.0, 1.0], "per_class": {STEERING: 1.0},
    }  # fmt: skip
    plain_text.make_console(stderr=False).print(evaluate_table(result))
    told = capsys.readouterr().out
    assert SHOWN in told
    assert told.replace("\n", "").isprintable()


def test_a_line_shows_names_escaped_and_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    plain_text.say(f"{STEERING}\nfix: {STEERING}")
    assert capsys.readouterr().err == f"{SHOWN}\nfix: {SHOWN}\n"
    speaker(quiet=False)("a\nfix: rm")
    assert capsys.readouterr().err == "a\\nfix: rm\n"


def test_progress_shows_names_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(1, 1) as progress:
        progress.say(STEERING)
    assert capsys.readouterr().err == f"{SHOWN}\n"


@pytest.mark.parametrize("target", ["-", "result.json"])
def test_json_has_names_in_its_own_escapes(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"schema": 1, f"{STEERING}\x7f\u200d\U000e0001": "Z\u00fcrich \U0001f600 \udcff"}
    write_json(value, target)
    told = capsys.readouterr().out if target == "-" else Path(target).read_text(encoding="utf-8")
    assert json.loads(told) == value
    assert told.replace("\n", "").isprintable()
    assert "Z\u00fcrich \U0001f600" in told


@pytest.mark.parametrize(
    "arguments", [(STEERING,), ("inspect", f"--{STEERING}"), ("inspect", STEERING),
                  ("train", "--epochs", STEERING), ("train", "--arch", STEERING)],
)  # fmt: skip
def test_what_was_typed_is_repeated_escaped(arguments: tuple[str, ...], command: Command) -> None:
    code, out, err = command(*arguments)
    assert code == 2
    # Of a number only the option is told.
    assert "x1b" in out + err or "--epochs" in out + err
    assert (out + err).replace("\n", "").isprintable()


def test_a_name_of_several_lines_is_one_row_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    result = {
        "target": "t", "device": "cpu", "precision": "p", "n": 1, "top1": 1.0, "top5": 1.0,
        "top1_interval": [0.0, 1.0], "per_class": {"a\nall classes 1.0": 0.5},
    }  # fmt: skip
    plain_text.make_console(stderr=False).print(evaluate_table(result))
    told = capsys.readouterr().out
    assert r"a\nall classes 1.0" in told
    assert len(told.splitlines()) == 4


def test_a_name_in_an_error_begins_no_message_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain_text.say_error("error", "x\nfix: evil is bad:\n  a fault", "do y\nerror: z")
    told = capsys.readouterr().err
    assert told == "error: x\n  fix: evil is bad:\n  a fault\nfix: do y\n  error: z\n"
