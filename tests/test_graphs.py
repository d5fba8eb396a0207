"""A graph that is remembered is, byte for byte, the one that PyTorch's exporter writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from edgeresnet.host.export import canonical_graph
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.settings.export import BatchRange
from tests.graphs import remembering

# One block in each stage: the exporter's time is that of its nodes.
TINY = Widths(8, (8, 8, 8, 8), tuple(((8,), ()) for _ in range(4)))
# Pruned, and so wide that the classifier's weight is too large to be compared with others.
OTHER = Widths(12, (12, 8, 16, 130), tuple(((width,), ()) for width in (12, 20, 16, 5)))
ONE, FOUR = BatchRange(1, 1, 1), BatchRange(4, 4, 4)
OPEN, WIDER = BatchRange(1, 2, 4), BatchRange(2, 3, 8)
# The exporter itself; all tests have it wrapped.
REAL = "__wrapped__"


def network(
    seed: int, kind: str, widths: Widths = TINY, classes: int = 10, bits: int = 8
) -> QuantResNet:
    torch.manual_seed(seed)
    dense = build_resnet("resnet18", classes, "small", widths)
    model = QuantResNet(dense, weight_bits=bits).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    if kind in ("mixed", "wide"):
        model.keep_in_float(["layer2.0.conv1", "fc"])
    if kind == "wide":
        model.in_sixteen_bits()
    for quantizer in model.quantizers().values():
        quantizer.enabled = kind != "float"
    return model


def export(
    exporter: Any, model: QuantResNet, batch: BatchRange = ONE, sides: tuple[int, int] = (16, 16)
) -> bytes:
    images = torch.zeros(batch.best, 3, *sides)
    graph = exporter(model, images, batch)
    # As canonical_graph does: where in which code a node was written is not ours.
    ClearMetadataAndDocStringPass()(graph)
    canonical_graph.forget_shapes(graph.graph)
    return bytes(ir.to_proto(graph).SerializeToString(deterministic=True))


def never(*_: Any) -> Any:
    raise AssertionError("exported again")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the graphs of the first networks lie."""
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.parametrize(
    ("kind", "batch", "other_batch", "side"),
    [
        pytest.param("float", ONE, FOUR, 16, marks=pytest.mark.slow),
        # So small that the last stage has a single pixel.
        pytest.param("int8", FOUR, ONE, 8, marks=pytest.mark.slow),
        pytest.param("mixed", ONE, FOUR, 225, marks=pytest.mark.slow),
        # With layers in float and in 8 bits too: all that the others have.
        ("wide", OPEN, WIDER, 40),
    ],
)
def test_remembering_gives_the_exporters_graph_when_weights_and_sizes_are_others(
    kind: str, batch: BatchRange, other_batch: BatchRange, side: int, kept: Path
) -> None:
    real = getattr(canonical_graph._export, REAL)
    export(remembering(real, kept), network(0, kind), batch)
    other = network(1, kind, OTHER, classes=12, bits=5)
    for tensor in (other.fc.weight, other.fc.weight_quant.scale):
        torch.nn.init.ones_(tensor)
    # The exporter lets these two share one tensor.
    other.conv1_quant.scale.copy_(other.pool_quant.scale)
    found = export(remembering(never, kept), other, other_batch, (side, side))
    assert found == export(real, other, other_batch, (side, side))


def test_remembering_exports_anew_when_the_network_is_another(kept: Path) -> None:
    export(remembering(canonical_graph._export, kept), network(0, "int8"))
    others = {kind: network(0, "int8") for kind in ("one more in float", "one in 16 bits")}
    others["one more in float"].keep_in_float(["fc"])
    others["one in 16 bits"].keep_in_float(["fc"])
    others["one in 16 bits"].in_sixteen_bits()
    others["a bias of zeros"] = network(0, "int8")
    torch.nn.init.zeros_(others["a bias of zeros"].fc.bias)
    others["a hook"] = network(0, "int8")
    others["a hook"].fc.register_forward_hook(lambda *given: given[-1] * 2)
    for model in others.values():
        with pytest.raises(AssertionError, match="exported again"):
            export(remembering(never, kept), model)
    with pytest.raises(AssertionError, match="exported again"):
        export(remembering(never, kept), network(0, "int8"), OPEN)


def test_remembering_exports_anew_when_a_test_has_put_other_code_in_its_place(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(remembering(canonical_graph._export, kept), network(0, "int8"))
    monkeypatch.setattr(QuantResNet, "head", lambda self, x: self.fc(x.mean((2, 3)) * 2))
    with pytest.raises(AssertionError, match="exported again"):
        export(remembering(never, kept), network(0, "int8"))
