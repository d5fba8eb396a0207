"""Which unit ran what, and the refusal of a silent fallback to the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.placement import Share, check_fallback, shares
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.errors import CheckError
from edgeresnet.report.tables import share_lines
from tests.conftest import CommandLine
from tests.small_checkpoints import CPU_TARGETS

KERNELS = [
    Kernel("Conv", "int8", "npu", ("conv1", "conv1.relu")),
    Kernel("Conv", "int8", "npu", ("layer1.0.conv1",)),
    Kernel("Gemm", "fp32", "cpu", ("fc",)),
]
LAYERS = [
    {"name": "conv1", "macs": 60},
    {"name": "layer1.0.conv1", "macs": 30},
    {"name": "fc", "macs": 10},
]


def test_shares_add_up_layers_and_macs_when_a_manifest_tells_them() -> None:
    assert shares(KERNELS, LAYERS) == [
        Share("npu", "int8", 2, pytest.approx(2 / 3), pytest.approx(0.9)),
        Share("cpu", "fp32", 1, pytest.approx(1 / 3), pytest.approx(0.1)),
    ]


def test_shares_count_kernels_when_there_is_no_manifest() -> None:
    assert shares(KERNELS, []) == [
        Share("npu", "int8", 2, pytest.approx(2 / 3), None),
        Share("cpu", "fp32", 1, pytest.approx(1 / 3), None),
    ]


def test_shares_name_the_unit_unknown_when_a_layer_is_in_no_kernel() -> None:
    found = shares(KERNELS[:1], LAYERS)
    assert found[1] == Share("unknown", "unknown", 2, pytest.approx(2 / 3), pytest.approx(0.4))


def test_shares_count_kernels_when_no_layer_has_a_kernels_name() -> None:
    others = [{**layer, "name": f"/other/{layer['name']}"} for layer in LAYERS]
    assert shares(KERNELS, others) == shares(KERNELS, [])


def test_check_fallback_names_the_layers_when_the_cpu_runs_some() -> None:
    check_fallback(KERNELS, "cpu")
    check_fallback(KERNELS[:2], "npu")
    with pytest.raises(CheckError) as caught:
        check_fallback(KERNELS, "npu")
    assert "fc (Gemm)" in caught.value.cause
    assert "conv1" not in caught.value.cause


def test_share_lines_are_for_people() -> None:
    (line,) = share_lines([vars(share) for share in shares(KERNELS, LAYERS)])
    assert line.startswith("ran on npu int8: 2 layers (67 %), 90.0 % of the multiply-accumulates")


@pytest.mark.parametrize("target", CPU_TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_layer_is_placed_when_a_bundle_runs(files: Path, target: str, precision: str) -> None:
    with open_model(files / f"{target}-{precision}") as opened:
        (share,) = opened.placement()
    layers = load_bundle(files / f"{target}-{precision}").manifest.layers
    assert share == {
        "unit": "cpu", "precision": precision, "layers": len(layers), "layers_share": 1.0,
        "macs_share": 1.0,
    }  # fmt: skip


def test_profile_and_evaluate_say_where_it_ran(edgeresnet: CommandLine, files: Path) -> None:
    for command in ("profile", "evaluate"):
        done = edgeresnet(command, files / "onnx-int8", "--json", "r.json")
        assert done.returncode == 0, done.stderr
        assert "ran on cpu int8: 21 layers (100 %)" in done.stdout
    found = json.loads(edgeresnet("evaluate", files / "int8.pt", "--json", "-").stdout)
    assert [(s["unit"], s["precision"]) for s in found["placement"]] == [("cpu", "fake-quant")]
