"""What the examples of all targets have in common is the same in each."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeresnet.device.data.decoding import formats
from edgeresnet.device.targets.registry import TARGETS, example_of
from edgeresnet.settings.inputs import InputSpec
from tests.fakes import FakeSession

MARK = "# From here on the examples of all targets are the same.\n"


def test_every_target_has_an_example_and_they_share_what_is_not_the_runtimes() -> None:
    shared = {}
    for name in TARGETS:
        path = example_of(name)
        assert path is not None, name
        _, shared[name] = path.read_text(encoding="utf-8").split(MARK)
    first = next(iter(shared.values()))
    assert [name for name, text in shared.items() if text != first] == []
    assert "def check(" in first


def functions(path: Path) -> dict[str, str]:
    """Each function of a script, by its name."""
    text = path.read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) or "" for node in nodes}


def test_examples_of_features_share_all_but_what_takes_features() -> None:
    paths = {name: path for name in TARGETS if (path := example_of(name, features=True))}
    assert set(paths) == {"onnx", "openvino", "tensorrt", "qnn"}
    tails = {path.read_text(encoding="utf-8").split(MARK)[1] for path in paths.values()}
    assert len(tails) == 1
    for name, path in paths.items():
        plain = example_of(name)
        assert plain is not None
        logits, features = functions(plain), functions(path)
        other = {key for key in logits.keys() & features.keys() if logits[key] != features[key]}
        assert other == {"open_model", "show", "check", "main"}, name


def test_example_opens_the_formats_that_edgeresnet_opens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = example_of("onnx")
    assert path is not None
    shared = path.read_text(encoding="utf-8").split(MARK)[1].partition("def damaged_files")[0]
    manifest = {"input_spec": InputSpec(8).to_dict(), "embed_preprocess": True,
                "classes": ["a", "b"], "batch": {"smallest": 1}}  # fmt: skip
    names: dict[str, Any] = {
        "np": np, "Image": Image, "ImageOps": ImageOps, "sys": sys, "MANIFEST": manifest,
    }  # fmt: skip
    exec("from __future__ import annotations\n" + shared, names)
    image, answer = Image.new("RGB", (8, 8)), np.zeros((1, 2), np.float32)
    for suffix, code in ((".png", 0), (".webp", 0), (".pcx", 2), (".tga", 2), (".eps", 2)):
        image.save(tmp_path / f"x{suffix}")
        assert names["show"](lambda batch: answer, tmp_path / f"x{suffix}") == code, suffix
    assert "x.pcx is no image that can be read" in capsys.readouterr().err
    assert tuple(names["formats"]()) == formats()


def test_example_of_is_none_where_a_target_has_none(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(TARGETS, "fake", FakeSession(lambda batch: batch))
    assert example_of("fake") is None
