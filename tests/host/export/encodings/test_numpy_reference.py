"""Every encoding against integers, scales and zero points by their definitions, in numpy."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.encodings.encode import ENCODINGS as ENCODERS
from edgeresnet.host.export.lint import check_canonical
from edgeresnet.host.models.float_layers import Wiring
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths
from edgeresnet.settings.export import BatchRange
from edgeresnet.settings.measuring import RunOptions
from tests.mixed import calibrated
from tests.numpy_network import ENCODINGS, NumpyNetwork, random_network

SIZE, IMAGES = 32, 4
# At 32 px the last level has one pixel. Blocks that pruning removed make it short.
SHORT = Widths(8, (8, 8, 16, 16), (((8,), ()), ((8,), ()), ((16,), ()), ((16,), ())))
LONG = Widths(8, (8, 8, 16, 16), (((8,), (4,)), ((8,), ()), ((16,), (8,)), ((16,), (16,))))
MIX = ("conv1", "layer2.0.conv2", "layer3.0.conv1", "layer4.0.downsample.0", "fc")
# How each is made, what runs it, and how numpy computes it.
HOW = {
    "unsigned": ("unsigned", "int8", "unsigned"),
    "signed": ("signed", "int8", "signed"),
    "wide": ("hexagon", "w8a16", "wide"),
}


@cache
def exported(widths: Widths, floats: tuple[str, ...]) -> tuple[bytes, Wiring, dict[str, Any]]:
    """The canonical graph, whose numbers are replaced; its blocks; the shapes of its weights."""
    _, model = calibrated(floats, size=SIZE, widths=widths)
    # The exporter stores equal numbers once, and at one pixel the average's step is its input's.
    for number, quantizer in enumerate(model.quantizers().values()):
        quantizer.scale.data *= 1 + number / 1000
    graph = canonical_graph(model, SIZE, BatchRange(1, 1, 1), quantized=True)
    check_canonical(graph, model.computed_in_float)
    shapes = {n: tuple(model.get_submodule(n).weight.shape) for n in model.wiring.layers}  # type: ignore[union-attr, arg-type]
    return ir.to_proto(graph).SerializeToString(), model.wiring, shapes


def with_numbers(content: bytes, network: NumpyNetwork) -> ir.Model:
    model = onnx.load_from_string(content)
    constants = network.constants()
    for tensor in model.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(constants.pop(tensor.name), tensor.name))
    assert not constants, f"the graph has no {sorted(constants)}"
    return ir.from_proto(model)


def answers(graph: ir.Model, images: NDArray[np.float32], *, as_written: bool) -> NDArray[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ir.save(graph, path)
        with target_of("onnx").load(path, "cpu", RunOptions(as_written=as_written)) as session:
            return np.concatenate([session.run(image[None]) for image in images])


@st.composite
def cases(draw: st.DrawFn, layers: tuple[str, ...]) -> dict[str, Any]:
    """A seed, and what is odd about the numbers."""
    some = st.lists(st.sampled_from(layers), max_size=3, unique=True)
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "dead": draw(some),  # some channels without a weight
        "empty": draw(some),  # all channels without one, and without a bias
        "negative": draw(some),  # nothing but negative outputs
        "images": draw(st.sampled_from(["noise", "constant", "zero", "negative"])),
    }


def network_of(
    case: dict[str, Any], content: tuple[bytes, Wiring, dict[str, Any]], floats: tuple[str, ...]
) -> tuple[NumpyNetwork, NDArray[np.float32]]:
    _, wiring, shapes = content
    rng = np.random.default_rng(case["seed"])
    network = random_network(shapes, wiring, floats, rng)
    for layer in case["dead"]:
        dead = rng.random(len(network.weights[layer])) < 0.5
        network.weights[layer][dead] = 0
        network.biases[layer][dead & (rng.random(len(dead)) < 0.5)] = 0
    for layer in case["empty"]:
        network.weights[layer][:], network.biases[layer][:] = 0, 0
    for layer in case["negative"]:
        network.biases[layer][:] = -20
    shape = (IMAGES, 3, SIZE, SIZE)
    images = {
        "noise": rng.standard_normal(shape),
        "constant": np.broadcast_to(rng.standard_normal((IMAGES, 1, 1, 1)), shape),
        "zero": np.zeros(shape),
        "negative": -np.abs(rng.standard_normal(shape)),
    }[case["images"]].astype(np.float32)
    network.calibrate(images)
    return network, images


def hold_against_numpy(widths: Widths, floats: tuple[str, ...], case: dict[str, Any]) -> None:
    content = exported(widths, floats)
    network, images = network_of(case, content, floats)
    for name, (encoding, precision, arithmetic) in HOW.items():
        if floats and encoding == "hexagon":
            continue
        graph = with_numbers(content[0], network)
        ENCODERS[encoding](graph, precision)
        expected = network.logits(images, ENCODINGS[arithmetic])
        for as_written in (True, False) if encoding == "unsigned" else (True,):
            found = answers(graph, images, as_written=as_written)
            fault = fault_of(found, expected)
            assert fault is None, f"{name}, as written {as_written}: {fault}"


def fault_of(found: NDArray[Any], expected: NDArray[Any]) -> str | None:
    """Half of the images must be the same to a thousandth of the logits' range, at least.

    Where float32 stands between two steps it may round to the other one than float64: one value of
    one image is then a step away, and its logits are by what later layers make of that.
    """
    largest = max(float(np.ptp(expected)), float(np.abs(expected).max()), 1e-3)
    away = np.sort(np.abs(found - expected).max(1)) / largest
    if away[len(away) // 2 - 1] <= 1e-3 and away[-1] <= 0.05:
        return None
    return f"images are {away} of the logits' range away"


# The mixed one has every kind of node of the whole one.
@pytest.mark.parametrize(
    "floats",
    [pytest.param((), marks=pytest.mark.slow, id="whole"), pytest.param(MIX, id="mixed")],
)
def test_encodings_are_what_numpy_computes(floats: tuple[str, ...]) -> None:
    layers = exported(SHORT, floats)[1].layers

    @settings(max_examples=4, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases(layers))
    def hold(case: dict[str, Any]) -> None:
        hold_against_numpy(SHORT, floats, case)

    hold()


@pytest.mark.slow
@pytest.mark.parametrize("widths", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("seed", range(6))
def test_encodings_are_what_numpy_computes_whatever_the_mix(widths: Widths, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = calibrated((), size=SIZE, widths=widths)[1].wiring
    floats = every.in_order(rng.choice(every.layers, rng.integers(0, 6), replace=False))

    @settings(max_examples=40, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases(every.layers))
    def hold(case: dict[str, Any]) -> None:
        hold_against_numpy(widths, floats, case)

    hold()


def test_a_wrong_grid_is_noticed() -> None:
    """The reference can tell: the same numbers with the steps kept behind a ReLU, not their end."""
    content = exported(SHORT, ())
    case = {"seed": 0, "dead": [], "empty": [], "negative": [], "images": "noise"}
    network, images = network_of(case, content, ())
    expected = network.logits(images, ENCODINGS["unsigned"])
    network.scales["layer2.0.conv1_quant"] *= 0.7
    wrong = network.logits(images, ENCODINGS["unsigned"])
    assert fault_of(wrong, expected) is not None


def test_reference_is_pytorchs_network_when_all_is_float() -> None:
    source, model = calibrated((), size=SIZE, widths=SHORT)
    assert isinstance(model, QuantResNet)
    model.keep_in_float(model.wiring.layers)
    weights = {n: model.get_submodule(n).weight.detach().numpy() for n in model.wiring.layers}  # type: ignore[union-attr, operator]
    biases = {n: model.get_submodule(n).bias.detach().numpy() for n in model.wiring.layers}  # type: ignore[union-attr, operator]
    network = NumpyNetwork(model.wiring, model.wiring.layers, weights, biases)
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    import torch

    with torch.inference_mode():
        expected = source.build()(torch.from_numpy(images)).numpy()
    assert np.allclose(network.logits(images, ENCODINGS["signed"]), expected, atol=1e-4)
