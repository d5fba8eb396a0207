"""Weights of a few bits: on their grid in the file that travels, in integer kernels, and proven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.quant_resnet import QuantConv, QuantResNet
from edgeresnet.host.quantization.calibrate import calibrate
from tests.conftest import CPU_TARGETS, make_checkpoint
from tests.mixed import NARROW

ENDS = ("conv1", "fc")


def few_bits(bits: int) -> Checkpoint:
    source = replace(make_checkpoint(size=32, widths=NARROW), data=None)
    model = QuantResNet(source.build(), weight_bits=bits)  # type: ignore[arg-type]
    calibrate(model, [torch.randn(8, 3, 32, 32)], "mse")
    return replace(
        source,
        precision="int8",
        quantization={"weight_bits": bits},
        state_dict=model.state_dict(),
    )


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_weights_are_on_the_grid_of_their_bits(bits: int) -> None:
    model = few_bits(bits).build()
    assert isinstance(model, QuantResNet)
    high = 2 ** (bits - 1) - 1
    weights = {n: q.range[1] for n, q in model.quantizers().items() if n.endswith("weight_quant")}
    assert weights == {
        name: 63 if name.removesuffix(".weight_quant") in ENDS else high for name in weights
    }
    convolution = model.get_submodule("layer1.0.conv1")
    assert isinstance(convolution, QuantConv)
    quantizer = convolution.weight_quant
    steps = quantizer(convolution.weight) / quantizer.step()[:, None, None, None]
    assert steps.abs().max().item() == pytest.approx(high, abs=1e-4)


def test_a_checkpoint_of_four_bits_comes_back(tmp_path: Path) -> None:
    made = few_bits(4)
    save_checkpoint(made, tmp_path / "c.pt")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path / "c.pt").build()(images), made.build()(images))


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_four_bits_are_integer_kernels_with_four_bits_in_the_file(
    tmp_path: Path, target: str
) -> None:
    bundle = export_bundle(few_bits(4), target=target, precision="int8", out_dir=tmp_path / "b")
    assert load_bundle(bundle.path).manifest.proof["integer_kernels"]
    if target != "onnx":
        return
    graph = onnx.load(str(bundle.path / bundle.manifest.model)).graph
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.name.endswith(".int8") and tensor.name.count("weight")
    }
    assert len(weights) == 21
    for name, weight in weights.items():
        at_end = name.split(".weight")[0] in ENDS
        assert np.abs(weight).max() <= (63 if at_end else 7), name
