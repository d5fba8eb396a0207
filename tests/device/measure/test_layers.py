"""Each layer by the network's own name, with the runtimes themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.api.profile import profile
from edgeresnet.device.bundle.bundle import read_manifest
from edgeresnet.device.measure.layers import (
    TimedLayers,
    calmest,
    layer_name,
    layer_rows,
    own_name,
)
from edgeresnet.device.targets.openvino.session import mean_of_last
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths
from edgeresnet.settings.measuring import RunOptions
from tests.mixed import calibrated, mixed_checkpoint
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

OWN = r"(conv1|layer[1-4]\.\d\.(conv[123]|downsample\.0|add)|maxpool|avgpool|flatten|fc)"
NAME = re.compile(rf"{OWN}( \+ add)?( \+ relu)?|(layout change|quantize|dequantize) before {OWN}")
RUNTIMES = tuple(name for name in CPU_TARGETS if name != "qnn")
PRUNED = Widths(
    32, (32, 48, 64, 80), (((20,), (24,)), ((40,), (36,)), ((56,), (50,)), ((72,), (64,)))
)


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    result = profile(path, options=RunOptions(threads=1), layers=True)
    return {row["name"]: dict(row) for row in result["layers"]}


def check_names(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Every row has a name of the network's, and every layer is in one row, with its work."""
    assert [name for name in rows if not NAME.fullmatch(name)] == []
    expected = {layer["name"]: layer["macs"] for layer in read_manifest(path).layers}
    found = [(name.split(" + ")[0], row["macs"]) for name, row in rows.items() if row["macs"]]
    assert dict(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_layers_have_the_networks_own_names_when_profiled(
    files: Path, target: str, precision: str
) -> None:
    path = files / f"{target}-{precision}"
    rows = rows_of(path)
    check_names(path, rows)
    assert {row["precision"] for row in rows.values() if row["macs"]} == {precision}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    one = rows_by_layer(rows)["layer1.0.conv2"]
    assert one["gmacs_per_s"] == pytest.approx(one["macs"] / one["time_ms"] / 1e6)


def rows_by_layer(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name.split(" + ")[0]: row for name, row in rows.items()}


@pytest.mark.parametrize("target", RUNTIMES)
def test_fused_layers_are_named_as_such(files: Path, target: str) -> None:
    rows = rows_of(files / f"{target}-fp32")
    assert "layer1.0.conv1 + relu" in rows
    assert "layer1.0.conv2 + add + relu" in rows
    assert "layer2.0.conv2 + add + relu" in rows
    assert "layer2.0.downsample.0" in rows


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        # The other runtime's names are those of its layers above.
        pytest.param(
            kind, target,
            marks=[] if (kind, target) == ("mixed-int8", "openvino")
            else [pytest.mark.slow],
        )
        for kind in ("pruned-fp32", "pruned-int8", "mixed-int8")
        for target in RUNTIMES
    ],
)  # fmt: skip
def test_layers_have_their_own_names_when_pruned_or_mixed(
    tmp_path: Path, target: str, kind: str
) -> None:
    what, precision = kind.split("-")
    path = tmp_path / "bundle"
    export_bundle(_checkpoint(what, precision), target=target, precision=precision, out_dir=path)
    rows = rows_of(path)
    check_names(path, rows)
    floats = {
        n for n, row in rows_by_layer(rows).items() if row["macs"] and row["precision"] == "fp32"
    }
    declared = {x["name"] for x in read_manifest(path).layers if x["precision"] == "fp32"}
    assert floats == declared


def _checkpoint(what: str, precision: str) -> Checkpoint:
    from dataclasses import replace

    if what == "mixed":
        return mixed_checkpoint()
    if precision == "fp32":
        return replace(make_checkpoint("resnet18", "imagenet", 32, PRUNED), data=None)
    source, model = calibrated((), widths=PRUNED)
    return replace(
        source, precision="int8", quantization={"weight_bits": 7}, state_dict=model.state_dict()
    )


def test_calmest_counts_the_same_runs_for_all_layers() -> None:
    """The second run is the fastest, though the first layer had a faster one."""
    layers = [
        LayerProfile("a", "Conv", "fp32", "cpu", 0.0, (1.0, 2.0, 9.0)),
        LayerProfile("b", "Conv", "fp32", "cpu", 0.0, (9.0, 3.0, 9.0)),
    ]
    found, run_ms = calmest(layers, [11.0, 6.0, 19.0], kept=1)
    assert [layer.time_ms for layer in found] == [2.0, 3.0]
    assert run_ms == 6.0


def test_calmest_counts_all_runs_when_a_runtime_tells_only_their_mean() -> None:
    layers = [LayerProfile("a", "Conv", "fp32", "cpu", 4.0)]
    assert calmest(layers, [5.0, 3.0, 7.0], kept=1) == (layers, 5.0)


def test_mean_of_last_is_that_of_the_last_runs_when_all_before_were_slow() -> None:
    """Runs of 100, 20, 2 and 4 ms, told as OpenVINO does: the mean of all so far."""
    averages = [100.0, 60.0, 122 / 3, 31.5]
    assert mean_of_last(averages, 2) == pytest.approx(3.0)
    assert mean_of_last(averages, 4) == mean_of_last(averages, 9) == pytest.approx(31.5)


def test_rows_tell_rate_and_share_of_the_peak_when_both_are_known() -> None:
    layers = (
        LayerProfile("k", "Conv", "int8", "cpu", 2.0, nodes=("conv1", "conv1.relu")),
        LayerProfile("t", "Transpose", "fp32", "cpu", 2.0, role="layout", before="fc"),
    )
    timed = TimedLayers(layers, 4.0, {"conv1": 10**6}, {}, 8, "onnx", "cpu")
    first, second = layer_rows(timed, {"int8": 8.0})
    assert (first["macs"], first["gmacs_per_s"], first["peak_share"]) == (8 * 10**6, 4.0, 0.5)
    assert (first["share"], second["macs"], second["peak_share"]) == (0.5, None, None)
    assert second["name"] == "layout change before fc"
    assert layer_rows(timed, {})[0]["peak_share"] is None


@pytest.mark.parametrize(
    ("node", "name"),
    [("layer1.0.conv1", "layer1.0.conv1"), ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
     ("/layer1/layer1.0/downsample/downsample.0/Conv", "layer1.0.downsample.0"),
     ("/conv1/Conv", "conv1"), ("/Conv", "Conv")],
)  # fmt: skip
def test_own_name_is_the_modules_when_an_exporter_wrote_its_path(node: str, name: str) -> None:
    assert own_name(node) == name


def test_layer_name_is_the_runtimes_when_nothing_is_traced_back() -> None:
    assert layer_name(LayerProfile("k12", "Conv", "fp16", "gpu", 1.0)) == "k12"
