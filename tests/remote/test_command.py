"""``--on`` through a real sshd on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.remote.ssh import Address
from tests.cli.test_app import image_folder
from tests.conftest import CommandLine
from tests.copies import REPOSITORY
from tests.sshd import Device, running, sshd, wait_for


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with sshd(tmp_path_factory.mktemp("sshd")) as started:
        yield started


@pytest.fixture
def on(device: Device, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("PATH", f"{device.bin}{os.pathsep}{os.environ['PATH']}")
    return ("--on", device.address)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://jetson", Address("jetson")),
        ("ssh://me@Jetson-1.local:2222", Address("Jetson-1.local", "me", 2222)),
        ("ssh://me@[fe80::1]:22/", Address("fe80::1", "me", 22)),
    ],
)
def test_address_is_parsed_when_it_is_one(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "jetson", "http://jetson", "ssh://", "ssh://jetson:port", "ssh://jetson:99999",
        "ssh://me:secret@jetson", "ssh://jetson/home", "ssh://-oProxyCommand=x", "ssh://-l@jetson",
        "ssh://a b", "ssh://jetson?x",
    ],
)  # fmt: skip
def test_address_is_refused_when_it_is_none(text: str) -> None:
    with pytest.raises(InputError) as found:
        Address.parse(text)
    assert "secret" not in str(found.value)
    assert "--on" in found.value.cause


def test_profile_on_a_device_gives_its_json_and_the_same_table(
    edgeresnet: CommandLine, files: Path, device: Device, on: tuple[str, str], tmp_path: Path
) -> None:
    found = edgeresnet(
        "profile", files / "onnx-int8", "--threads", 1, "--layers", *on, "--json", "p.json"
    )
    assert found.returncode == 0, found.stderr
    figures = json.loads((tmp_path / "p.json").read_text())
    assert (figures["target"], figures["threads"], figures["n"] >= 50) == ("onnx", 1, True)
    assert figures["environment"]["versions"]["edgeresnet"]
    assert figures["layers"]
    assert f"{figures['p50_ms']:.2f}" in found.stdout
    assert "Slowest" in found.stdout
    assert "device: " in found.stderr
    assert "Latency in ms" not in found.stderr
    # It ran out of the copied package, not out of this folder.
    (package,) = (device.cache / "edgeresnet/remote/package").glob("*/edgeresnet/cli/app.py")
    assert package.read_bytes() == (REPOSITORY / "edgeresnet/cli/app.py").read_bytes()


def test_evaluate_on_a_device_equals_evaluating_here(
    edgeresnet: CommandLine, files: Path, on: tuple[str, str], tmp_path: Path
) -> None:
    image_folder(tmp_path / "photos", [str(i) for i in range(10)], images=30)
    # A folder by its whole path is copied below.
    for spec in (("--data", "photos", "--limit", 20), ()):
        bundle = files / "onnx-int8"
        near = edgeresnet("evaluate", bundle, *spec, "--json", "-")
        far = edgeresnet("evaluate", bundle, *spec, *on, "--json", "-")
        assert near.returncode == far.returncode == 0, near.stderr + far.stderr
        same = ("top1", "top5", "n", "per_class", "data", "top1_interval", "precision")
        results = [json.loads(run.stdout) for run in (near, far)]
        assert [results[0][key] for key in same] == [results[1][key] for key in same]
        assert results[1]["n"] >= 20


# Profiling goes the same way, and the exit code is a device's below.
@pytest.mark.slow
def test_compare_on_a_device_exits_1_when_a_budget_is_missed(
    edgeresnet: CommandLine, files: Path, on: tuple[str, str]
) -> None:
    bundles = (files / "onnx-fp32", files / "onnx-int8")
    found = edgeresnet(
        "compare", *bundles, "--limit", 20, "--rounds", 3, "--max-p99-ms", 1e-6, *on, "--json", "-"
    )
    assert found.returncode == 1, found.stderr
    result = json.loads(found.stdout)
    assert [row["name"] for row in result["rows"]] == ["onnx-fp32", "onnx-int8"]
    assert (result["verdict"], result["rounds"]) == ("fail", 3)
    assert found.stderr.count("budget missed") == 1
    assert "Traceback" not in found.stderr


def test_build_on_a_device_brings_the_engine_back(
    edgeresnet: CommandLine, int8_checkpoint: Checkpoint, on: tuple[str, str], tmp_path: Path
) -> None:
    if not target_of("qnn").devices():
        pytest.skip("no compiler is here whose engines are kept")
    bundle = export_bundle(
        int8_checkpoint, target="qnn", precision="int8", out_dir=tmp_path / "b"
    ).path
    found = edgeresnet("build", bundle, "--device", "sm8650", *on, "--json", "-")
    assert found.returncode == 0, found.stderr
    built = json.loads(found.stdout)
    assert (bundle / built["engine"]).stat().st_size == built["size_bytes"]
    assert built["engine"] in load_bundle(bundle).manifest.files


def test_build_on_a_device_says_so_when_it_has_nothing_to_bring_back(
    edgeresnet: CommandLine, files: Path, on: tuple[str, str]
) -> None:
    found = edgeresnet("build", files / "onnx-int8", *on)
    assert found.returncode == 0, found.stderr
    assert "nothing is written" in found.stdout
    assert not (files / "onnx-int8" / "engines").exists()


@pytest.mark.parametrize("copier", ["rsync", "tar"])
def test_copying_is_exact_and_incremental_when_repeated(
    edgeresnet: CommandLine,
    device: Device,
    on: tuple[str, str],
    files: Path,
    tmp_path: Path,
    copier: str,
) -> None:
    if copier == "tar":
        # A machine without rsync: the program is there, and is not rsync.
        (device.bin / "rsync").write_text("#!/bin/sh\nexit 1\n")
        (device.bin / "rsync").chmod(0o755)
    try:
        data = image_folder(tmp_path / copier, [str(i) for i in range(10)], images=30)
        command = ("evaluate", files / "onnx-int8", "--data", data, *on, "--json", "-")
        first = edgeresnet(*command)
        assert first.returncode == 0, first.stderr
        copied = sorted((device.cache / "edgeresnet/remote/data").glob(f"*/{copier}/val/*/*/*.png"))
        stamps = {path: path.stat().st_ino for path in copied}
        # What a cut connection or a careless hand may leave there.
        copied[0].write_bytes(copied[0].read_bytes()[:100])
        copied[1].unlink()
        stray = copied[2].with_name("stray.png")
        stray.write_bytes(b"not an image")
        package = device.cache / "edgeresnet/remote/package"
        compiled = {path: path.stat().st_mtime_ns for path in package.rglob("*.pyc")}
        assert compiled
        again = edgeresnet(*command)
        assert again.returncode == 0, again.stderr
        assert not stray.exists()
        assert json.loads(again.stdout)["top1"] == json.loads(first.stdout)["top1"]
        assert all(path.stat().st_ino == stamps[path] for path in copied[2:])
        assert sorted(copied[0].parents[2].glob("*/*/*.png")) == copied
        # Nor does it begin with compiling the package anew.
        assert {path: path.stat().st_mtime_ns for path in compiled if path.exists()} == compiled
    finally:
        (device.bin / "rsync").unlink(missing_ok=True)


def profile_begun(
    files: Path, device: Device, on: tuple[str, str], cwd: Path
) -> tuple[subprocess.Popen[str], tuple[str, ...]]:
    """A profile that runs on the device now, and words that its process there has."""
    # A shell's background jobs ignore interrupts, those of nohup hang-ups, and so would this one
    # where the tests are such a job.
    listen = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    )
    code = f"{listen}; from edgeresnet.cli.app import main; main()"
    bundle = files / "onnx-fp32"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "profile", str(bundle), *on, "--json", "cut.json"],
        cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    words = ("edgeresnet profile", str(device.cache), bundle.name)
    wait_for(lambda: running(*words), "the command never ran on the device")
    return process, words


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        # By default the one after which the command here goes on to the end.
        pytest.param(
            "cut",
            3,
            "the connection to device was lost while profile ran\nfix: repeat the command",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "kill",
            3,
            "device killed the command while profile ran\nfix: look at its free memory",
            marks=pytest.mark.slow,
        ),
        pytest.param("interrupt", 130, "", marks=pytest.mark.slow),
        ("SIGTERM", 143, ""),
        pytest.param("SIGHUP", 129, "", marks=pytest.mark.slow),
    ],
)
def test_nothing_half_done_is_left_when_it_ends_in_the_middle(
    edgeresnet: CommandLine,
    files: Path,
    device: Device,
    on: tuple[str, str],
    tmp_path: Path,
    end: str,
    code: int,
    told: str,
) -> None:
    process, words = profile_begun(files, device, on, tmp_path)
    if end == "cut":
        device.cut()
    elif end == "kill":
        os.kill(running(*words)[0], signal.SIGKILL)
    else:
        process.send_signal({"interrupt": signal.SIGINT}.get(end) or signal.Signals[end])
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert output == ""
    assert told in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    # A measurement that nobody waits for would disturb the next one.
    wait_for(lambda: not running(*words), "the command outlived its connection")
    wait_for(lambda: not device.sessions(), "the connection outlived its command")
    if end.startswith("SIG"):
        # They end as an interrupt does.
        return
    quick = ("--preset", "quick", "--json", "again.json")
    repeated = edgeresnet("profile", files / "onnx-fp32", *on, *quick)
    assert repeated.returncode == 0, repeated.stderr
    assert json.loads((tmp_path / "again.json").read_text())["n"] >= 30


def test_jump_host_is_used_when_the_users_config_has_one(
    edgeresnet: CommandLine, files: Path, on: tuple[str, str]
) -> None:
    behind = on[1].replace("device", "behind")
    found = edgeresnet(
        "evaluate", files / "onnx-int8", "--limit", 20, "--on", behind, "--json", "-"
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["n"] == 20


@pytest.mark.slow
def test_device_without_packages_gets_them_once(
    edgeresnet: CommandLine, files: Path, device: Device, on: tuple[str, str]
) -> None:
    bare = {
        "python3": f'#!/bin/sh\nexec {Path(sys.base_prefix) / "bin/python3"} -I "$@"\n',
        "edgeresnet": "#!/bin/false\n",
    }
    for name, text in bare.items():
        (device.bin / name).write_text(text)
        (device.bin / name).chmod(0o755)
    try:
        command = ("evaluate", files / "onnx-int8", "--limit", 20, *on, "--json", "-")
        first, second = edgeresnet(*command), edgeresnet(*command)
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert "installing " in first.stderr
        assert "onnxruntime" in first.stderr
        assert "torch" not in first.stderr
        assert "installing " not in second.stderr
        assert (device.cache / "edgeresnet/remote/venv/bin/python").exists()
    finally:
        for name in bare:
            (device.bin / name).unlink()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        pytest.param(
            ("profile", "{files}/onnx-int8", "--device", "npu"),
            2,
            "device: error: ",
            marks=pytest.mark.slow,
        ),
        (("profile", "{files}/openvino-int8", "--device", "gpu.7"), 3, "device: missing: "),
        # Quiet, and told all the same.
        (("profile", "{files}/onnx-int8", "--batch", "4", "--quiet"), 2, "device: error: "),
        (("profile", "{files}/float.pt"), 2, "export it to a bundle first"),
        (("evaluate", "{files}/onnx-int8", "--data", "nowhere"), 2, "nowhere does not exist"),
    ],
)
def test_exit_code_is_the_devices_when_the_command_fails_there(
    edgeresnet: CommandLine,
    files: Path,
    on: tuple[str, str],
    arguments: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    found = edgeresnet(*(a.format(files=files) for a in arguments), *on)
    assert found.returncode == code, found.stderr
    assert told in found.stderr
    assert "fix: " in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


def test_error_says_what_to_try_when_nothing_listens(
    edgeresnet: CommandLine, files: Path, on: tuple[str, str]
) -> None:
    found = edgeresnet("profile", files / "onnx-int8", "--on", "ssh://nobody@127.0.0.1:1")
    assert found.returncode == 3
    assert "cannot connect to 127.0.0.1" in found.stderr
    assert "ssh -l nobody -p 1 127.0.0.1 true" in found.stderr
