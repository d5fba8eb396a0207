"""What a far end prints is found behind a marker, and is taken only if it is what was asked."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.errors import InputError, MissingError
from edgeresnet.remote import answers
from edgeresnet.remote.answers import BuildAnswer, Probed, between, listen, marked, parsed, skip_to
from edgeresnet.remote.command import Job, _parsed
from edgeresnet.remote.fetch import fetch
from edgeresnet.remote.images import told_outside
from edgeresnet.remote.ssh import Address
from edgeresnet.remote.transfer import Parcel, model_parcel
from tests.hostile.far_answers import FIGURES
from tests.hostile.far_end import FarEnd, archive
from tests.small_models import keep_weights_apart, write_onnx

PROBED = '{"version": [3, 11], "root": "/r", "rsync": false, "interpreter": null}'


def test_an_answer_is_found_whatever_a_login_prints() -> None:
    command, marker = marked(["printf", "%s", PROBED])
    noise = "echo hello; echo '{\"version\": 1}'"
    shell = ["sh", "-c", f'{noise}; "$@"; {noise}', "sh", *command]
    output = subprocess.run(shell, capture_output=True, check=True).stdout
    assert parsed(between(output, marker), Probed, "device")["root"] == "/r"


def test_the_exit_code_stays() -> None:
    command, marker = marked(["sh", "-c", "echo x; exit 7"])
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, between(done.stdout, marker)) == (7, b"x\n")


@pytest.mark.parametrize(
    "text",
    [
        None, b"", b"{", b"[]", b"null", b"[" * 100_000, PROBED.replace("11", "NaN"),
        PROBED.replace("3, 11", "3"), PROBED.replace("3, 11", '"3", "11"'),
        PROBED.replace('"/r"', '"r"'), PROBED.replace('"/r"', '"/r\\n"'),
        PROBED.replace("false", "0"), PROBED.replace('"version"', '"rsync": true, "version"'),
        PROBED.replace("null", '"/bin/x -c evil"'),
    ],
)  # fmt: skip
def test_an_answer_is_refused_when_it_is_another(text: Any) -> None:
    with pytest.raises(MissingError, match="device answers what edgeresnet does not"):
        parsed(text, Probed, "device")


@pytest.mark.parametrize("engine", ["../x", "engines/../x", "/x", "engines/", "engines/.x", "x"])
def test_an_engine_is_refused_by_its_name(engine: str) -> None:
    text = f'{{"target": "qnn", "device": "npu", "engine": "{engine}"}}'
    with pytest.raises(MissingError):
        parsed(text, BuildAnswer, "device")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_listen_ends_what_prints_without_end(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setattr(answers, "MOST_OUTPUT", 1 << 20)
    monkeypatch.setattr(answers, "MOST_ERRORS", 1 << 20)
    lengths: list[int] = []
    with pytest.raises(MissingError, match="prints more than"):
        followed(f"while True: sys.{stream}.write('x' * 65536)", lengths)
    assert max(lengths, default=0) <= answers.MOST_SHOWN


def test_listen_takes_both_streams_while_it_feeds() -> None:
    # Each is more than a pipe holds: one after the other would wait for ever.
    code = "[s.write('x' * (1 << 18)) for s in (sys.stderr, sys.stdout)]; sys.stdin.read()"
    lengths: list[int] = []
    assert len(followed(code, lengths, b"y" * (1 << 18))) == 1 << 18
    assert len(lengths) == (1 << 18) // answers.MOST_LINE


def followed(code: str, lengths: list[int], stdin: bytes = b"") -> bytes:
    """What `listen` takes from a program."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        return listen(
            process, "device", lambda line: lengths.append(len(line)), answers.read_answer,
            lambda pipe: pipe.write(stdin),
        )  # fmt: skip


def test_skip_to_gives_up_when_there_is_only_noise() -> None:
    assert skip_to(io.BytesIO(b"hello\nMARK\nrest"), b"\nMARK\n")
    assert not skip_to(io.BytesIO(b"x" * (2 << 20)), b"\nMARK\n")


def test_fetch_takes_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    good = {"e": b"engine", "e.json": b"{}"}
    far = FarEnd(good, archive(good), noise=b"Welcome!\n")
    fetch(far, "/r/engines", tmp_path / "engines", list(good), "python3")
    assert {p.name: p.read_bytes() for p in (tmp_path / "engines").iterdir()} == good


@pytest.mark.parametrize(
    "sent",
    [
        {"e": b"engine"}, {"e": b"altered", "e.json": b"{}"},
        {"e": b"engine", "x": b"", "e.json": b"{}"}, {"e": b"engine", "../e.json": b"{}"},
        {"e": b"engine", "/e.json": b"{}"}, {},
        {"e": None, "e.json": b"{}"},
    ],
)  # fmt: skip
def test_fetch_refuses_other_names_hashes_and_links(
    tmp_path: Path, sent: dict[str, bytes | None]
) -> None:
    far = FarEnd({"e": b"engine", "e.json": b"{}"}, archive(sent))
    with pytest.raises(MissingError, match="did not send"):
        fetch(far, "/r/engines", tmp_path / "engines", ["e", "e.json"], "python3")
    assert list((tmp_path / "engines").iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["engines"]


def test_fetch_refuses_a_file_that_comes_twice(tmp_path: Path) -> None:
    good = {"e": b"engine", "e.json": b"{}"}
    # The first head and its block of content, before all of it.
    far = FarEnd(good, archive(good)[:1024] + archive(good))
    with pytest.raises(MissingError, match="did not send"):
        fetch(far, "/r/engines", tmp_path / "engines", list(good), "python3")
    assert list((tmp_path / "engines").iterdir()) == []


def test_fetch_reads_no_archive_of_heads(tmp_path: Path) -> None:
    head = tarfile.TarInfo("h")
    head.type, head.size = tarfile.XHDTYPE, 3 << 30
    for stream in (head.tobuf(), archive({"e": b""})[:512] * 1000):
        far = FarEnd({"e": b"", "e.json": b"{}"}, stream + bytes(1 << 20))
        with pytest.raises(MissingError, match="did not send"):
            fetch(far, "/r/engines", tmp_path / "engines", ["e", "e.json"], "python3")
    head.size = 10
    far = FarEnd({}, (head.tobuf() + b"10 a=bcde\n".ljust(512, b"\0")) * 1000)
    with pytest.raises(MissingError, match="no archive of files"):
        fetch(far, "/r/engines", tmp_path / "engines", ["e"], "python3")


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("profile", {"batches": []}),
        ("profile", {"layers": [{"name": "x"}]}),
        ("profile", {"batches": [{**FIGURES["profile"]["batches"][0], "energy_mj": 1.0}]}),
        ("evaluate", {"top1_interval": [0.5]}),
        ("evaluate", {"placement": [{"unit": "cpu"}]}),
        ("build", {"target": "qnn", "device": "npu", "engine": "engines/e"}),
        ("build", {"target": "qnn", "device": "npu", "engine": "engines/e", "size_bytes": None}),
    ],
)
def test_a_result_is_refused_that_no_table_can_show(command: str, more: dict[str, Any]) -> None:
    text = json.dumps({**FIGURES.get(command, {}), **more}).encode()
    with pytest.raises(MissingError, match="another result than"):
        _parsed(text, Job(command, (), ()), Address("device"))


def test_weights_behind_a_link_are_sent_as_they_are_opened(tmp_path: Path) -> None:
    model = keep_weights_apart(write_onnx(tmp_path / "m.onnx"), "w.bin")
    cache, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    cache.mkdir()
    snapshot.mkdir()
    for path in (model, tmp_path / "w.bin"):
        (snapshot / path.name).symlink_to(path.rename(cache / f"0{path.name}"))
    parcel, _, _ = model_parcel(snapshot / "m.onnx")
    assert parcel.files["w.bin"].read_bytes() == (cache / "0w.bin").read_bytes()
    (tmp_path / "key").write_text("secret")
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to(tmp_path / "key")
    with pytest.raises(InputError, match="link out of its folder"):
        model_parcel(snapshot / "m.onnx")


def test_a_bundle_sends_only_what_its_manifest_names(files: Path, tmp_path: Path) -> None:
    import shutil

    (tmp_path / "key").write_text("secret")
    bundle = tmp_path / "b"
    shutil.copytree(files / "onnx-fp32", bundle)
    (bundle / "mine.txt").write_text("notes")
    parcel, _, _ = model_parcel(bundle)
    assert "b/mine.txt" not in parcel.files
    assert {"b/manifest.json", "b/golden.npz"} <= parcel.files.keys()
    (bundle / "k").symlink_to(tmp_path / "key")
    with pytest.raises(InputError, match="has a link, k"):
        model_parcel(bundle)


def test_images_from_elsewhere_are_told_and_other_files_refused(tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    for path in (data / "a.png", tmp_path / "b.png", tmp_path / "key"):
        path.write_text("x")
    (data / "link.png").symlink_to(tmp_path / "b.png")
    (data / "key.png").symlink_to(tmp_path / "key")
    assert told_outside(Parcel("p", {"a": data / "a.png"}), str(data)) is None
    line = told_outside(Parcel("p", {"a": data / "link.png"}), str(data))
    assert line is not None
    assert line.startswith("1 images lie outside")
    for name in ("key.png", "../key"):
        with pytest.raises(InputError, match="not called an image"):
            told_outside(Parcel("p", {"a": data / name}), str(data))
