"""What the system sees of `evaluate` on strangers' bundles and images: no program, no net."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.device.machine.test_process_environment import strace
from tests.hostile import images
from tests.small_bundles import write_small_bundle

CALLS = (
    "execve,execveat,connect,sendto,sendmsg,bind,openat,open,creat,rename,renameat,renameat2,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat,"
    "chown,fchownat,mknod,mknodat"
)
NETWORK = ("connect", "sendto", "sendmsg", "bind")
CALL = re.compile(r"^\d+\s+(?P<name>\w+)\((?P<arguments>.*)\)\s+=\s+(?P<result>-?\d+)")
# A file descriptor's place, as -y writes it, or a path in quotes.
PLACE = re.compile(r'(?:AT_FDCWD<(?P<cwd>[^>]*)>|\d+<(?P<fd>[^>]*)>)?(?:, )?"(?P<path>[^"]*)"')
READ_ONLY = re.compile(r"O_RDONLY(?!.*O_(CREAT|TRUNC))")


def _linked(bundle: Path) -> None:
    (bundle / ".manifest.json.partial").symlink_to("../../outside/new")
    (bundle / "engines").symlink_to("../../outside", target_is_directory=True)


def _elsewhere(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../outside/sentinel")
    content = model.SerializeToString()
    (bundle / "model.onnx").write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def _whole(bundle: Path) -> None:
    """As it was written: the images are what is hostile."""


@pytest.mark.parametrize("change", [_whole, _linked, _elsewhere], ids=lambda f: f.__name__[1:])
def test_evaluate_starts_no_program_and_touches_nothing_outside(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    here, trace = tmp_path / "here", tmp_path / "trace"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "sentinel").write_text("not to be touched\n")
    for name in ("here", "cache", "tmp", "home"):
        (tmp_path / name).mkdir()
    change(write_small_bundle(here / "bundle"))
    write_images(here / "photos")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    command = ("evaluate", "bundle", "--data", "photos", "--skip-broken", "--json", "out.json")
    done = subprocess.run(
        [
            *strace(), "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace),
            sys.executable, "-B", "-m", "edgeresnet", *command,
        ],
        cwd=here, env={**environment, "PYTHONPATH": str(Path.cwd())}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == (0 if change is _whole else 2), done.stderr
    allowed = tuple(str(tmp_path / name) for name in ("here", "cache", "tmp", "home"))
    calls = [call for line in trace.read_text().splitlines() if (call := CALL.match(line))]
    # What is written where it may be is seen, too.
    assert any(_writes_outside(call, here, allowed[1:]) for call in calls)
    programs = [call["arguments"] for call in calls if call["name"].startswith("execve")]
    assert len(programs) == 1, programs
    assert [call[0] for call in calls if call["name"] in NETWORK] == []
    assert [call[0] for call in calls if "resolv.conf" in call[0] or "/etc/hosts" in call[0]] == []
    assert [call[0] for call in calls if _writes_outside(call, here, allowed)] == []
    assert (tmp_path / "outside" / "sentinel").read_text() == "not to be touched\n"


def write_images(photos: Path) -> None:
    """Ten classes of good images, and in one of them all that `images` has of hostile ones."""
    good = {kind: images._saved(kind, np.random.default_rng(0)) for kind in images.KINDS}
    for name in map(str, range(10)):
        (photos / "val" / name).mkdir(parents=True)
        (photos / "val" / name / "0.png").write_bytes(good["PNG"])
    for number, (file, content) in enumerate(images._made(good).values()):
        (photos / "val" / "3" / f"{number}{file}").write_bytes(content)


def _writes_outside(call: re.Match[str], here: Path, allowed: tuple[str, ...]) -> bool:
    """Whether a call that went well wrote, moved or removed where nothing may."""
    name, arguments = call["name"], call["arguments"]
    if int(call["result"]) < 0 or name.startswith("execve"):
        return False
    if name in ("open", "openat") and READ_ONLY.search(arguments):
        return False
    for place in PLACE.finditer(arguments):
        path = os.path.normpath(Path(place["cwd"] or place["fd"] or here, place["path"]))
        if path != "/dev/null" and not path.startswith(allowed):
            return True
    return False
