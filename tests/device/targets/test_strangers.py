"""Model files of strangers are refused before they run, or ended when they do not end."""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeresnet import closing
from edgeresnet.api.opening import open_model
from edgeresnet.closing import temporary_folder
from edgeresnet.device.machine.watch import watched
from edgeresnet.device.targets import stranger
from edgeresnet.device.targets.model_files import check_model, describe_model
from edgeresnet.device.targets.onnx.graph_file import graph_of
from edgeresnet.device.targets.onnx.protocol_buffer import DamagedError, Reader
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import CommandLine
from tests.copies import REPOSITORY
from tests.hostile.models import field
from tests.hostile.onnx_attacks import BOMBS, STRUCTURES
from tests.hostile.openvino_attacks import EDITS
from tests.small_models import keep_weights_apart, write_onnx, write_openvino

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds memory so")
GRAPHS = {
    "If": "runs a graph of its own",
    "SequenceMap": "runs a graph of its own",
    "Loop without end": "runs a graph of its own",
    "another's operator": "is of 'evil', and only ONNX's own",
    "engine elsewhere": "opens another file",
    "functions that explode": "functions of its own",
    "initializer of 10^12": "1000000x1000000 elements",
    "initializer of 10^12 integers in a list": "1000000000000 elements",
    "initializer that is cut": "7 bytes in place of 12",
    "initializer of rank 100,000": "more than 64 sides",
    "initializer twice": "one name",
    "initializer of type 99": "data type 99",
    "input of type 8": "input 'images' is string",
    "input that is a sequence": "no tensor",
    "input of rank 50": "has 50 sides",
    "input of images of 10^6": "1x3x1000000x1000000 elements",
    "input with a negative side": "negative side",
    "circle of what hands on": "go in a circle",
    "names twice": "make one value",
    "chain of 60,000": "more than 20000 operations",
    "steps of 0": "has strides",
    "names that colour a terminal": r"\\x1b",
}
TEXTS = {
    "Loop": "runs a graph of its own",
    "another's set": "is of 'evil'",
    "laughs that nobody hears": "declares a document type",
    "letters of a mainframe": "not UTF-8",
    "circle": "go in a circle",
    "chain of 60,000": "more elements",
    "offset behind the end": "1080 bytes from 1000000",
    "offset beyond 64 bits": "in place of a number",
    "constant of 10^12": "1000000x1000000 elements",
    "input of text": "no image is",
    "input of 10^12": "elements, more than",
    "steps of 0": "has strides",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_is_refused_before_it_runs(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(STRUCTURES[name]())
    with pytest.raises(InputError, match=GRAPHS[name]) as error:
        describe_model(path)
    assert str(error.value).isprintable() or "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", ["Expand", "Tile", "Resize to sizes", "Pad", "Range", "OneHot"])
def test_graph_is_refused_when_a_constant_tells_its_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[name]())
    with pytest.raises(InputError, match="is refused"):
        check_model(path)


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_refused_before_openvino_reads_it(tmp_path: Path, name: str) -> None:
    path = write_openvino(write_onnx(tmp_path / "m.onnx", shape=(1, 3, 16, 16)))
    edited = EDITS[name](path.read_text())
    path.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
    with pytest.raises(InputError, match=TEXTS[name]):
        describe_model(path)


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "/etc/passwd", "sub/../../w.bin", "..\\w.bin", "link", "folder", "a\x1b"],
)
def test_weights_are_refused_when_they_are_not_in_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "own"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    (folder / "link").symlink_to("../w.bin")
    (folder / "a\x1b").write_bytes(bytes(4096))
    path = keep_weights_apart(write_onnx(folder / "m.onnx"), "w.bin")
    content = path.read_bytes()
    told = field(13, field(1, b"location") + field(2, b"w.bin"))
    (folder / "m.onnx").write_bytes(_replaced(content, told, location))
    with pytest.raises(InputError, match=r"no name of a file|out of its folder|no regular file"):
        check_model(path)


def _replaced(content: bytes, told: bytes, location: str) -> bytes:
    import onnx

    assert told[2:] in content
    model = onnx.ModelProto.FromString(content)
    for tensor in model.graph.initializer:
        for pair in tensor.external_data:
            if pair.key == "location":
                pair.value = location
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-8"), ("offset", "9" * 5000), ("length", "4")]
)
def test_weights_are_refused_when_their_range_is_not_theirs(
    tmp_path: Path, key: str, value: str
) -> None:
    import onnx

    path = keep_weights_apart(write_onnx(tmp_path / "m.onnx"), "w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for pair in tensor.external_data:
            pair.value = value if pair.key == key else pair.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"m\.onnx is refused"):
        check_model(path)


def test_weights_are_read_when_a_cache_links_to_them(tmp_path: Path) -> None:
    """As downloads are kept: a folder of links into one of files."""
    blobs, links = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    links.mkdir()
    path = keep_weights_apart(write_onnx(blobs / "m.onnx"), "w.bin")
    for name in ("m.onnx", "w.bin"):
        (links / name).symlink_to(f"../blobs/{name}")
    assert check_model(links / "m.onnx").model_bytes == sum(
        one.stat().st_size for one in (path, blobs / "w.bin")
    )


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "hole"])
def test_file_is_refused_when_it_is_none_or_larger_than_the_machine(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    path = tmp_path / f"m{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(InputError, match=r"no regular file|does not fit|larger than"):
        check_model(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff" * 50, "has no end"),
        (b"\x3a" + b"\xff" * 9 + b"\x7f" + b"x", "has no end"),
        (b"\x3a\xff\xff\x03", "cut off"),
        (b"\x3b" * 50, "of kind 3"),
        (b"\x02\x00", "number 0"),
        (b"\x80", "cut off"),
        (b"\x0d\x00", "cut off"),
        (field(7, b"\x0a\x00" * 30_000), "more than 20000 operations"),
        (field(7, b"") * 2, "two graphs"),
    ],
)
def test_protocol_buffer_is_refused_when_it_is_damaged(content: bytes, words: str) -> None:
    with pytest.raises(DamagedError, match=words):
        graph_of(content)


def test_reader_stops_when_there_are_morefields_than_it_may_read() -> None:
    with pytest.raises(DamagedError, match="more fields"):
        list(Reader(10).fields(memoryview(b"\x08\x00" * 11)))


def test_watch_ends_the_process_when_native_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Exception] = []
    monkeypatch.setattr(closing, "_end", ended.append)
    folder = temporary_folder()
    with pytest.raises(InputError, match=r"within 0\.05 s"), watched(tmp_path / "m", 0.05):
        time.sleep(0.5)
    assert [type(one) for one in ended] == [InputError]
    assert not Path(folder.name).exists()


def test_overrun_is_told_when_nobody_may_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "_end", None)
    with pytest.raises(InputError, match="--first-run-limit-s"), watched(tmp_path / "m", 0.01):
        time.sleep(0.05)


@LINUX
def test_memory_is_bounded_while_a_model_is_opened_and_not_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "_end", pytest.fail)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with (
        pytest.raises(InputError, match="asks for more"),
        watched(tmp_path / "m", 60, model_bytes=0),
    ):
        bytearray(64 << 30)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
@pytest.mark.parametrize("bomb", ["minutes of products", "minutes of products of constants"])
def test_command_ends_in_time_and_leaves_nothing_when_a_model_does_not(
    edgeresnet: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    bomb: str,
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[bomb]())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    data = ("--data", "digits", "--limit", 8) if command == "evaluate" else ()
    found = edgeresnet(command, path, *data, "--first-run-limit-s", 0.5)
    assert found.returncode == 2
    assert "has not been loaded and run once within 0.5 s" in found.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


@LINUX
@pytest.mark.parametrize("name", ["hidden ConstantOfShape of 3 GB", "RandomUniform of 3 GB"])
def test_command_refuses_memory_that_no_constant_tells_of(
    edgeresnet: CommandLine, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BOMBS[name]())
    found = edgeresnet("inspect", path)
    assert (found.returncode, "Traceback" in found.stderr) == (2, False), found.stderr
    assert found.stderr.startswith("error: ")


@LINUX
@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 ends a process for it")
def test_command_says_so_when_a_kernel_divides_without_result(
    edgeresnet: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(STRUCTURES["quotient that overflows"]())
    found = edgeresnet("inspect", path)
    assert (found.returncode, "has no result" in found.stderr) == (2, True), found.stderr


IN_A_THREAD = "thread = threading.Thread(target=crash); thread.start(); thread.join()"
CRASHING = """
import ctypes, os, signal, sys, threading
from pathlib import Path
from edgeresnet import closing
from edgeresnet.device.machine import watch
watch.STUCK_S = 0.2
libc = ctypes.CDLL(None)
def crash(): {crash}
def end(error): print(error, flush=True); os._exit(2)
closing.end_with(end)
folder = closing.temporary_folder()
print(folder.name)
with watch.watched(Path("m.onnx"), {limit_s}):
    {how}
"""


@LINUX
@pytest.mark.parametrize(
    ("name", "crash", "how"),
    [
        ("SIGSEGV", "libc.strlen(1)", "crash()"),
        ("SIGABRT", "libc.abort()", IN_A_THREAD),
        ("SIGILL", "getattr(libc, 'raise')(signal.SIGILL)", "crash()"),
        ("SIGBUS", "getattr(libc, 'raise')(signal.SIGBUS)", IN_A_THREAD),
    ],
)
def test_crash_of_a_runtime_is_one_message_and_leaves_nothing(
    tmp_path: Path, name: str, crash: str, how: str
) -> None:
    script = CRASHING.format(crash=crash, how=how, limit_s=60)
    found = run_python(script, tmp_path)
    folder, _, told = found.stdout.partition("\n")
    assert found.returncode == 2, found
    assert told.startswith(f"m.onnx makes its runtime crash ({name})")
    assert not Path(folder).exists()


@LINUX
def test_handlers_of_others_stay_behind_the_watch(tmp_path: Path) -> None:
    script = """
import ctypes, faulthandler, signal
from pathlib import Path
from edgeresnet import closing
from edgeresnet.device.machine import watch
libc = ctypes.CDLL(None)
def action(name):
    kept = ctypes.create_string_buffer(512)
    libc.sigaction(getattr(signal, name), None, kept)
    # Handler, mask and flags; between them is what happens to be there.
    return kept.raw[:16], kept.raw[136:140]
closing.end_with(print)
faulthandler.enable()
before = {name: action(name) for name in ("SIGSEGV", "SIGFPE")}
with watch.watched(Path("m.onnx"), 60):
    assert action("SIGSEGV") != before["SIGSEGV"]
    # As a runtime does that has one of its own.
    signal.signal(signal.SIGBUS, print)
    during = action("SIGBUS")
assert {name: action(name) for name in before} == before
assert action("SIGBUS") == during
"""
    found = run_python(script, tmp_path)
    assert found.returncode == 0, found.stderr


@LINUX
def test_system_ends_what_no_thread_can_end(tmp_path: Path) -> None:
    # A call of Python's own interface keeps its lock.
    keeps = "ctypes.PyDLL(None).pause()"
    script = CRASHING.format(crash=keeps, how="crash()", limit_s=0.1)
    assert run_python(script, tmp_path).returncode == -signal.SIGALRM


def run_python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which may crash."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
def test_honest_model_opens_as_before_when_it_is_checked(tmp_path: Path, apart: bool) -> None:
    path = write_onnx(tmp_path / "m.onnx", shape=("N", 3, 16, 16))
    if apart:
        keep_weights_apart(path, "sub.data")
    checked = check_model(path)
    assert checked.input_bytes == 4 * 3 * 16 * 16
    with open_model(path, options=RunOptions(first_run_limit_s=60)) as opened:
        assert opened.first_ms is not None
    assert stranger.most_bytes() > checked.model_bytes


def test_limit_is_refused_when_nothing_is_run(edgeresnet: CommandLine, tmp_path: Path) -> None:
    found = edgeresnet("inspect", tmp_path, "--first-run-limit-s", 5)
    assert found.returncode == 2
    assert "would have no effect" in found.stderr
