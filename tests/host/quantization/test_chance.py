"""Quantizing says so when the float network is not clearly above chance, and why that may be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeresnet.host.quantization import quantize_checkpoint as quantizing
from edgeresnet.host.quantization.reference import Reference
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions
from tests.cli.test_app import image_folder
from tests.host.training.test_train_checkpoint import narrow_weights

PTQ = QuantizeOptions(method="ptq", calibration_images=8)


def lines_of(tmp_path: Path, *, named: bool) -> list[str]:
    """What quantizing an untrained network says."""
    checkpoint = narrow_weights(tmp_path / "w.pt", classes=2)
    if named:
        checkpoint = replace(checkpoint, classes=("a", "b"), classes_known=True)
    image_folder(tmp_path / "photos", ["a", "b"], images=40, size=8)
    lines: list[str] = []
    context = TaskContext(data=str(tmp_path / "photos"), on_step=lines.append)
    quantizing.quantize_checkpoint(checkpoint, PTQ, context=context)
    return [line for line in lines if "not clearly above chance" in line]


@pytest.mark.parametrize("named", [False, True])
def test_quantize_says_so_when_top1_is_not_above_chance(tmp_path: Path, named: bool) -> None:
    (doubt,) = lines_of(tmp_path, named=named)
    causes = doubt.partition("look at ")[2].split(", then at ")
    order = [] if named else ["the order of the classes"]
    expected = [*order, "the preprocessing", "whether the network is", "whether these images"]
    assert len(causes) == len(expected)
    assert all(cause.startswith(start) for cause, start in zip(causes, expected, strict=True))


def test_quantize_is_silent_when_the_network_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reference, "_asked", lambda self, part: part.labels)
    assert lines_of(tmp_path, named=True) == []
