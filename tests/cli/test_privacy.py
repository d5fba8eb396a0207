"""What commands write for others tells no place, user or host, unless it is asked to."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.small_models import write_onnx

USER, HOST = "alice-of-the-desk", "host-of-alice"
TRAINED = ("--epochs", 1, "--batch-size", 8, "--augment", "none", "--lr", 0.01)
RECIPE = """
name: tiny
data: {data}
image_size: 8
model: {{weights: {weights}}}
quantize: {{method: ptq, max_drop: 1.0, calibration_images: 8}}
export: {{targets: [onnx], precisions: [fp32, int8]}}
compare: {{rounds: 2}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user, with images and checkpoints."""
    home = tmp_path / USER
    image_folder(home / "client" / "photos", ["a", "b"], images=30, size=8)
    (home / "client" / "photos" / "a" / "broken.png").write_bytes(b"no image")
    for name in ("HOME", "LOGNAME", "USER"):
        monkeypatch.setenv(name, str(home) if name == "HOME" else USER)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    own = narrow_weights(home / "own.pt", classes=2)
    foreign = own.state_dict
    for name in foreign:
        if name.endswith("bias"):
            # As trained ones are; for other tests there are graphs of such networks already.
            foreign[name] += 0.01
    save_checkpoint(own, home / "own.pt")
    torch.save({"state_dict": foreign, "model_ema": foreign}, home / "theirs.pth")
    write_onnx(home / "theirs.onnx", classes=2, shape=("N", 3, 8, 8))
    monkeypatch.chdir(tmp_path)
    return home


def chain(home: Path, command: Command) -> None:
    """Every command that writes for others, all of them told whole paths."""
    out, data = home / "out", ("--data", home / "client" / "photos", "--skip-broken")
    out.mkdir(exist_ok=True)

    def run(*arguments: Any, json: bool = True) -> None:
        name = "-".join(Path(str(one)).name for one in arguments[:2])
        told = ("--json", out / f"{name}.json") if json else ()
        code, _, stderr = command(*arguments, *told, "-q")
        assert code == 0, stderr

    trained, bundle = home / "trained.pt", out / "bundle"
    begin = ("--arch", "resnet18", "--weights", home / "theirs.pth")
    run("train", *begin, *data, *TRAINED, "-o", trained, json=False)
    run("prune", trained, *data, "--macs", 0.7, "--step", 4, *TRAINED, "-o", home / "p.pt")
    run("quantize", home / "p.pt", *data, "--method", "ptq", "-o", home / "q.pt")
    for source, name in ((home / "q.pt", "bundle"), (home / "theirs.pth", "float")):
        precision = ("--int8",) if name == "bundle" else ()
        run("export", source, *precision, *data, "-o", out / name, json=False)
    run("evaluate", bundle, *data)
    run("profile", bundle, "--layers")
    run("compare", home / "p.pt", bundle, out / "float", *data, "--rounds", 2)
    for model in (trained, home / "theirs.pth", bundle, out / "float", home / "theirs.onnx"):
        run("inspect", model)
    run("build", bundle)
    run("devices")


def run_recipe(home: Path, command: Command, *more: str) -> str:
    """A short run; what it says."""
    photos, told = home / "client" / "photos", ("--json", home / "out" / "run.json", *more)
    (photos / "a" / "broken.png").unlink(missing_ok=True)
    (home / "tiny.yaml").write_text(RECIPE.format(data=photos, weights=home / "theirs.pth"))
    code, _, stderr = command("run", home / "tiny.yaml", "-o", home / "out" / "run", *told)
    assert code == 0, stderr
    return stderr


def places_in(home: Path) -> list[tuple[str, str]]:
    """Which of what is for others tells what it should not."""
    secrets = [str(home.parent), USER, HOST, str(Path(torch.__file__).parents[4])]
    return [
        (name, secret)
        for name, content in contents(home / "out")
        for secret in secrets
        if secret.encode() in content
    ]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All that is for others: everything but checkpoints, with the arrays unpacked."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix == ".pt":
            continue
        yield path.relative_to(folder).as_posix(), path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                yield f"{path.name} unpacked", b"".join(arrays[k].tobytes() for k in arrays)


def test_commands_tell_others_neither_where_nor_by_whom(home: Path, command: Command) -> None:
    chain(home, command)
    assert places_in(home) == []
    # The checkpoint is the user's own, and finds its images again.
    assert load_checkpoint(home / "trained.pt").data == str(home / "client" / "photos")


def test_run_tells_others_neither_where_nor_by_whom(home: Path, command: Command) -> None:
    run_recipe(home, command)
    assert places_in(home) == []
    # What stands is not run again, until the bundles are to tell more.
    assert run_recipe(home, command).count(": done before") == 4
    assert run_recipe(home, command, "--record-host").count(": done before") == 2
    results = json.loads((home / "out" / "run" / "results.json").read_text())
    assert results["data"] == str(home / "client" / "photos")
    assert (results["environment"]["host"], results["environment"]["user"]) == (HOST, USER)


def test_record_host_tells_all_of_it(home: Path, command: Command) -> None:
    photos, told = home / "client" / "photos", ("--json", home / "told.json", "--record-host")

    def read(*arguments: Any, at: Path = home / "told.json") -> dict[str, Any]:
        code, _, stderr = command(*arguments, "-q")
        assert code == 0, stderr
        found: dict[str, Any] = json.loads(at.read_text())
        return found

    data, out = ("--data", photos, "--skip-broken"), home / "out"
    manifest = read(
        "export", home / "theirs.pth", *data, "--record-host", "-o", out, at=out / "manifest.json"
    )  # fmt: skip
    assert manifest["provenance"]["made_on"] == {"host": HOST, "user": USER}
    assert manifest["provenance"]["source"] == str(home / "theirs.pth")
    assert read("evaluate", out, *data, *told)["data"] == str(photos)
    environment = read("devices", *told)["environment"]
    assert (environment["host"], environment["user"]) == (HOST, USER)


def test_record_host_is_refused_where_it_has_no_effect(home: Path, command: Command) -> None:
    code, _, stderr = command("devices", "--record-host")
    assert (code, stderr.startswith("error: --record-host would have no effect")) == (2, True)
    data = ("--data", home / "client" / "photos")
    code, _, stderr = command(
        "adopt", home / "theirs.pth", *data, "-o", "x.pt", "--record-host"
    )  # fmt: skip
    assert (code, "keeps the place of its data" in stderr) == (2, True)
