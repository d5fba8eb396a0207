"""Defects planted in places drawn by a seed are found there by both runtimes, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import openvino
import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure import layers as layers_module
from edgeresnet.device.measure.layers import TimedLayers, time_layers
from edgeresnet.device.measure.why_slow import COMMANDS, loss_rows, losses
from edgeresnet.device.targets.executed import FileNode
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.planted import PLANTS, Graph
from tests.small_checkpoints import make_checkpoint

SEED = 20
RUNTIMES = ("onnx", "openvino")
BLOCKS = [f"layer{level}.{block}" for level in range(1, 5) for block in range(2)]
INNER = [f"{block}.conv1" for block in BLOCKS]
BRANCHES = [f"{block}.conv2" for block in BLOCKS]
SKIPS = [f"layer{level}.0.downsample.0" for level in range(2, 5)]
CASES = [
    ("float layer", "int8", INNER), ("missing Q/DQ", "int8", BRANCHES),
    ("missing Q/DQ", "int8", SKIPS), ("missing Q/DQ", "int8", INNER),
    ("unaligned width", "int8", INNER), ("unaligned width", "fp32", INNER),
    ("unfused add", "fp32", [f"{block}.add" for block in BLOCKS]),
    ("layout change", "fp32", [*INNER, *BRANCHES]),
]  # fmt: skip
# What else ONNX Runtime really does to pass by such a place, and what is said of it too.
ALSO = {"layout change", "type change"}


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("WARMUP", 1), ("RUNS", 4), ("KEPT", 2)):
        monkeypatch.setattr(layers_module, name, number)


def timed(path: Path) -> TimedLayers:
    options = RunOptions(threads=1, profile_layers=True)
    with open_model(path, options=options) as opened:
        return time_layers(opened, noise(opened.session, 1), path, threads=1)


def written(model: onnx.ModelProto, target: str, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    if target == "onnx":
        return path
    made = path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(path), made, compress_to_fp16=False)
    return made


# Every kind by ONNX Runtime; of those that OpenVINO takes a second for, each other one by default.
SLOW = (0, 2, 4)


@pytest.mark.parametrize(
    ("case", "target"),
    [
        pytest.param(
            case, target, marks=[pytest.mark.slow] if target != "onnx" and case in SLOW else []
        )
        for case in range(len(CASES))
        for target in RUNTIMES
    ],
)
def test_losses_find_a_planted_defect_at_its_layer(
    files: Path, tmp_path: Path, target: str, case: int
) -> None:
    kind, precision, places = CASES[case]
    place = random.Random(SEED + case).choice(places)
    graph = Graph(onnx.load(files / f"onnx-{precision}" / "model.onnx"))
    expected = PLANTS[kind](graph, place)
    found = losses(timed(written(graph.model, target, tmp_path)))
    said = {(loss.kind, loss.layer) for loss in found}
    assert (kind, expected) in said
    others = {(a, b) for a, b in said if a not in ALSO or target != "onnx"}
    assert others - {(kind, expected)} == set()
    assert all(loss.lost_ms >= 0 for loss in found)


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_losses_are_none_when_the_network_is_clean(
    files: Path, target: str, precision: str
) -> None:
    assert losses(timed(files / f"{target}-{precision}")) == []


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_losses_are_none_when_a_network_of_full_width_is_clean(arch: str, tmp_path: Path) -> None:
    source = replace(make_checkpoint(arch, "imagenet", 64), data="digits")
    options = QuantizeOptions(method="ptq", calibration_images=16)
    context = TaskContext(data="digits", limit=32)
    quantized, _ = quantize_checkpoint(source, options=options, context=context)
    for target in RUNTIMES:
        for precision, checkpoint in (("fp32", source), ("int8", quantized)):
            path = tmp_path / f"{target}-{precision}"
            export_bundle(checkpoint, target=target, precision=precision, out_dir=path)
            assert losses(timed(path)) == []


def layer(name: str, op: str, precision: str, time_ms: float, **facts: Any) -> LayerProfile:
    return LayerProfile(name, op, precision, "cpu", time_ms, **facts)


def test_a_float_layer_costs_what_it_and_its_conversions_take_over_the_usual_rate() -> None:
    """Integers at 1 GMAC/s: 1 ms for each; the float layer takes 4 ms, and two kernels 0.5 ms."""
    names = ("a", "b", "c")
    nodes = [FileNode("q", "quantize")]
    nodes += [FileNode(name, "convolution", ("q",), name != "b") for name in names]
    profiles = (
        layer("a", "QLinearConv", "int8", 1.0, role="convolution", nodes=("a",)),
        layer("d", "DequantizeLinear", "fp32", 0.2, role="dequantize", before="b", behind="a"),
        layer("b", "Conv", "fp32", 4.0, role="convolution", nodes=("b",)),
        layer("e", "QuantizeLinear", "fp32", 0.3, role="quantize", before="c", behind="b"),
        layer("c", "QLinearConv", "int8", 1.0, role="convolution", nodes=("c",)),
    )
    macs = dict.fromkeys(names, 10**6)
    (row,) = loss_rows(TimedLayers(profiles, 7.0, macs, {}, 1, "onnx", "cpu", nodes=tuple(nodes)))
    assert (row["kind"], row["layer"]) == ("float layer", "b")
    assert row["lost_ms"] == pytest.approx(3.5)
    assert row["command"] == COMMANDS["float layer"]


def test_time_is_lost_once_when_two_defects_are_at_one_layer() -> None:
    """Float and of an odd width: 4 ms that should be 1."""
    nodes = (FileNode("q", "quantize"), FileNode("a", "convolution", ("q",), True),
             FileNode("b", "convolution", ("q",)))  # fmt: skip
    profiles = (
        layer("a", "QLinearConv", "int8", 1.0, role="convolution", nodes=("a",)),
        layer("b", "Conv", "fp32", 4.0, role="convolution", nodes=("b",)),
    )
    macs, widths = {"a": 10**6, "b": 10**6}, {"a": 64, "b": 61}
    timed = TimedLayers(profiles, 5.0, macs, widths, 1, "openvino", "cpu", nodes=nodes)
    found = {loss.kind: loss.lost_ms for loss in losses(timed)}
    assert found == {"float layer": pytest.approx(3.0), "unaligned width": 0.0}


def test_profile_refuses_why_slow_when_the_runtime_does_not_tell_its_graph(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeresnet.api.profile import profile
    from edgeresnet.device.targets.onnx.target import OnnxTarget
    from edgeresnet.device.targets.onnxruntime_session import OnnxSession

    monkeypatch.setattr(OnnxTarget, "load", lambda self, *given: OnnxSession(*given))
    with pytest.raises(InputError, match="--why-slow needs the graph that is executed"):
        profile(files / "onnx-fp32", options=RunOptions(threads=1), why_slow=True)
