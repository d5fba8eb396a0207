"""Results and manifests name files and folders, and say nothing of where those lie."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import edgeresnet
from edgeresnet.device.machine import privacy
from edgeresnet.device.machine.privacy import name_of, shareable, write_result
from edgeresnet.errors import EdgeResNetError

HOME = "/home/alice smith"


@pytest.fixture(autouse=True)
def as_alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr(privacy.platform, "node", lambda: "desk")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/photos", "photos"),
        ("/data/photos/", "photos"),
        ("../client/photos", "photos"),
        ("digits", "digits"),
        (".", "."),
        ("", ""),
        ("torchvision:resnet18:IMAGENET1K_V1", "torchvision:resnet18:IMAGENET1K_V1"),
        (r"C:\Users\alice\w.pt", "w.pt"),
        (r"\\server\alice\w.pt", "w.pt"),
        (HOME, "~"),
        ("~", "~"),
        ("~alice", "~"),
        ("~/photos", "photos"),
        ("a\0b", "a\0b"),
    ],
)
def test_name_of_is_a_name_whatever_the_path(path: str, name: str) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("key", "value", "shared"),
    [
        ("data", "/data/photos", "photos"),
        ("weights", "~/w.pt", "w.pt"),
        ("source", "/data/w.pt", "w.pt"),
        ("engine", "engines/gpu.plan", "engines/gpu.plan"),
        ("engine", "/home/x/.cache/gpu.plan", "gpu.plan"),
        ("skipped", ["a/1.png", "/data/2.png", "../3.png"], ["a/1.png", "2.png", "3.png"]),
        ("notes", [f"{HOME}/w.pt: left out: fc.bias"], ["w.pt: left out: fc.bias"]),
        ("reason", "onnxruntime: /opt/v/x.so: and/or 1/2", "onnxruntime: x.so: and/or 1/2"),
        (
            "device_commands",
            ["scp -r runs/x/b '/data/my photos' DEVICE:", "edgeresnet profile b"],
            ["scp -r runs/x/b 'PATH/my photos' DEVICE:", "edgeresnet profile b"],
        ),
        # Not ours to change: names of classes and layers.
        ("classes", ["/m/01abc", "/m/02"], ["/m/01abc", "/m/02"]),
        ("name", "/layer1/conv", "/layer1/conv"),
        ("per_class", {"data": 0.5, "weights": None}, {"data": 0.5, "weights": None}),
    ],
)
def test_shareable_cuts_what_a_key_is_known_for(key: str, value: Any, shared: Any) -> None:
    assert shareable({"a": [{key: value}]}) == {"a": [{key: shared}]}


def test_shareable_leaves_paths_and_adds_the_host_when_that_is_wanted() -> None:
    there = {"cpu": "y", "host": "board", "user": "root"}
    record = {"data": "/d/p", "environment": {"cpu": "x"}, "batches": [{"environment": there}]}
    assert shareable(record, record_host=True) == {
        "data": "/d/p",
        "environment": {"cpu": "x", "host": "desk", "user": "alice"},
        "batches": [{"environment": there}],
    }
    assert shareable({"environment": {"cpu": "x"}}) == {"environment": {"cpu": "x"}}


def test_results_are_written_in_one_place() -> None:
    """What wrote them by itself would leave the places in."""
    package = Path(edgeresnet.__file__).parent
    writers = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "write_json"
    ]
    assert writers == ["device/machine/privacy.py"]


@pytest.mark.parametrize(("told", "option"), [({}, "-o"), ({"option": "--json"}, "--json")])
def test_a_result_that_cannot_be_written_names_the_option_of_its_place(
    told: Any, option: str, tmp_path: Path
) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(EdgeResNetError) as caught:
        write_result({"a": 1}, tmp_path / "r.json", **told)
    assert caught.value.cause.startswith(f"{option} ")
    assert f"give another {option}" in caught.value.fix
