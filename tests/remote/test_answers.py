"""What a far end prints is found behind a marker, and is taken only if it is what was asked."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.errors import InputError, MissingError
from edgeresnet.remote import answers
from edgeresnet.remote.answers import BuildAnswer, Probed, between, listen, marked, parsed, skip_to
from edgeresnet.remote.fetch import fetch
from edgeresnet.remote.transfer import Parcel, model_parcel, own_file, told_outside
from tests.hostile.far_end import FarEnd, archive

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


def test_listen_ends_what_prints_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_OUTPUT", 1 << 20)
    code = "import sys\nwhile True: sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    lengths: list[int] = []
    with process, pytest.raises(MissingError, match="prints more than"):
        listen(process, "device", lambda line: lengths.append(len(line)))
    assert max(lengths) <= answers.MOST_LINE


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


def test_a_bundle_sends_only_what_its_manifest_names(files: Path, tmp_path: Path) -> None:
    import shutil

    (tmp_path / "key").write_text("secret")
    bundle = tmp_path / "b"
    shutil.copytree(files / "onnx-fp32", bundle)
    (bundle / "k").symlink_to(tmp_path / "key")
    (bundle / "mine.txt").write_text("notes")
    parcel, _, _ = model_parcel(bundle)
    assert not {"b/k", "b/mine.txt"} & parcel.files.keys()
    assert {"b/manifest.json", "b/golden.npz"} <= parcel.files.keys()


def test_a_file_is_sent_only_if_it_is_one_of_its_folder(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (tmp_path / "key").write_text("secret")
    (here / "sub" / "w.bin").write_text("weights")
    (here / "k").symlink_to(tmp_path / "key")
    (here / "up").symlink_to(tmp_path)
    assert own_file(here, "sub/w.bin") == here / "sub" / "w.bin"
    for name in ("k", "up/key", "../key", "sub/../../key", str(tmp_path / "key"), "sub", "gone"):
        with pytest.raises(InputError, match="is not sent"):
            own_file(here, name)


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
