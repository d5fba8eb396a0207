"""Which quantizers are off where layers stay float, and what a checkpoint keeps of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.models.describe import describe_checkpoint
from edgeresnet.host.models.float_layers import BlockShape, Wiring
from tests.mixed import SOME, calibrated, mixed_checkpoint

# Two blocks: the first with a convolution in its skip.
BLOCKS = Wiring((BlockShape("layer1.0", 2, True), BlockShape("layer1.1", 2, False)))


def test_layers_and_quantizers_are_the_networks() -> None:
    _, model = calibrated(())
    convolutions = [name for name, _ in model.named_modules() if name.endswith("weight_quant")]
    assert {f"{layer}.weight_quant" for layer in model.wiring.layers} == set(convolutions)
    activations = {name for name, q in model.quantizers().items() if q.axis < 0}
    assert {grid.quantizer for grid in model.wiring.grids} == activations


@pytest.mark.parametrize(
    ("floats", "off"),
    [
        ((), set()),
        # Integers on both sides: only its weights are float.
        (("layer1.1.conv1",), set()),
        # The image is float, and nobody else reads it.
        (("conv1",), {"input_quant"}),
        (("fc",), {"pool_quant"}),
        # Its add is float with it, so nobody wants its output on a grid.
        (("layer1.0.conv2",), {"layer1.0.conv2_quant"}),
        (("layer1.0.downsample.0",), {"layer1.0.downsample_quant"}),
        (("layer1.0.conv1", "layer1.0.conv2"), {"layer1.0.conv1_quant", "layer1.0.conv2_quant"}),
        # The stream between two blocks: the skip of the second reads it too.
        (("layer1.0.conv2", "layer1.1.conv1"), {"layer1.0.conv2_quant"}),
        (
            ("layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2"),
            {
                "layer1.0.conv2_quant", "layer1.0.output_quant", "layer1.1.conv1_quant",
                "layer1.1.conv2_quant",
            },
        ),
    ],
)  # fmt: skip
def test_a_tensor_leaves_its_grid_only_where_no_integers_are(
    floats: tuple[str, ...], off: set[str]
) -> None:
    assert BLOCKS.off(floats) == off | {f"{layer}.weight_quant" for layer in floats}


def test_all_layers_in_float_are_the_float_network() -> None:
    source, model = calibrated(())
    images = torch.randn(4, 3, 32, 32)
    model.keep_in_float(model.wiring.layers)
    assert all(quantizer.idle for quantizer in model.quantizers().values())
    with torch.inference_mode():
        assert torch.allclose(model(images), source.build()(images), atol=1e-4)
    model.keep_in_float(())
    assert not any(quantizer.idle for quantizer in model.quantizers().values())


@pytest.mark.parametrize(
    ("name", "fix"),
    [("layer9.0.conv1", "give convolutions, or fc"), ("layer1.0.add", "a convolution that it")],
)
def test_what_is_no_layer_is_refused(name: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        BLOCKS.in_order([name])
    assert name in caught.value.cause
    assert fix in caught.value.fix


def test_checkpoint_keeps_its_float_layers(tmp_path: Path) -> None:
    path = tmp_path / "mixed.pt"
    checkpoint = mixed_checkpoint()
    save_checkpoint(checkpoint, path)
    read = load_checkpoint(path)
    assert (read.float_layers, read.version) == (SOME, 5)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(read.build()(images), checkpoint.build()(images))
        whole = replace(read, float_layers=()).build()
        assert not torch.equal(read.build()(images), whole(images))
    layers = describe_checkpoint(str(path))["layers"]
    assert [one["name"] for one in layers if one["precision"] == "fp32"] == list(SOME)


def test_checkpoint_without_float_layers_is_as_older_versions_read_it(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    save_checkpoint(mixed_checkpoint(()), path)
    content = torch.load(path, weights_only=True)
    assert content["version"] == 1
    assert "float_layers" not in content


def test_checkpoint_is_refused_when_a_float_layer_is_none(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pt"
    save_checkpoint(replace(mixed_checkpoint(()), float_layers=("layer9.0.conv1",)), path)
    with pytest.raises(InputError, match=r"layer9\.0\.conv1 stays float, and is no layer"):
        load_checkpoint(path)
