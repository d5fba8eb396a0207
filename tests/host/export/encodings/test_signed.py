"""The graph for TensorRT: what its parser refuses or misreads, ours refuses first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import CheckError
from edgeresnet.host.export.canonical_graph import canonical_graph, weight_of
from edgeresnet.host.export.encodings.encode import encode_signed, encode_unsigned
from edgeresnet.host.export.encodings.half import SMALLEST_NORMAL, to_half
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.export.graph import DEQUANTIZE, QUANTIZE, array_of, input_of, nodes_of
from edgeresnet.host.export.lint import check_signed
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.export import BatchRange
from edgeresnet.settings.measuring import RunOptions


def one_convolution(
    zero_point: np.ndarray, *, quantized_bias: bool = False, scale: float = 0.1
) -> onnx.ModelProto:
    """images -> Q -> DQ -> Conv, with int8 weights."""
    constants = {
        "scale": np.float32(scale),
        "zero": zero_point,
        "weight": np.ones((4, 3, 1, 1), np.int8),
        "steps": np.full(4, 0.1, np.float32),
        "zeros": np.zeros(4, np.int8),
    }
    nodes = [
        helper.make_node(QUANTIZE, ["images", "scale", "zero"], ["q"], "input.quantize"),
        helper.make_node(DEQUANTIZE, ["q", "scale", "zero"], ["dq"], "input.dequantize"),
        helper.make_node(
            DEQUANTIZE, ["weight", "steps", "zeros"], ["w"], "weight.dequantize", axis=0
        ),
    ]
    if quantized_bias:
        constants |= {
            "bias32": np.ones(4, np.int32),
            "bias_steps": np.full(4, 0.01, np.float32),
            "zeros32": np.zeros(4, np.int32),
        }
        inputs = ["bias32", "bias_steps", "zeros32"]
        nodes.append(helper.make_node(DEQUANTIZE, inputs, ["bias"], "bias.dequantize", axis=0))
    else:
        constants["bias"] = np.ones(4, np.float32)
    nodes.append(helper.make_node("Conv", ["dq", "w", "bias"], ["logits"], "conv"))
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


REFUSED = {
    "uint8 zero point": (one_convolution(np.uint8(0)), "uint8 and not int8"),
    "nonzero zero point": (one_convolution(np.int8(5)), "zero point is not 0"),
    "quantized bias": (one_convolution(np.int8(0), quantized_bias=True), "int32"),
}
# What TensorRT itself says to each, in its parser's warnings and errors.
SAID = {
    "uint8 zero point": "UINT8 zero_point only on DLA",
    "nonzero zero point": "Non-zero zero point is not supported",
    "quantized bias": "input has type Int32 but must have type",
}


@pytest.mark.parametrize("fault", REFUSED)
def test_check_signed_refuses_what_tensorrt_cannot_represent(fault: str) -> None:
    model, told = REFUSED[fault]
    with pytest.raises(CheckError, match=told):
        check_signed(ir.from_proto(model))


def test_check_signed_passes_when_the_grid_is_int8_around_0() -> None:
    check_signed(ir.from_proto(one_convolution(np.int8(0))))


def test_check_signed_names_the_node_when_the_zero_point_is_left_out() -> None:
    model = ir.from_proto(one_convolution(np.int8(0)))
    quantize = next(nodes_of(model.graph, QUANTIZE))
    quantize.replace_input_with(2, None)
    with pytest.raises(CheckError, match=r"input\.quantize: it has no zero point"):
        check_signed(model)


def quantized_graph(checkpoint: Checkpoint) -> ir.Model:
    return canonical_graph(folded(checkpoint), 16, BatchRange(1, 1, 1), quantized=True)


def test_check_signed_refuses_the_encoding_of_other_targets(int8_checkpoint: Checkpoint) -> None:
    graph = quantized_graph(int8_checkpoint)
    encode_unsigned(graph, "int8")
    with pytest.raises(CheckError, match=r"its zero point is uint8|it dequantizes int32"):
        check_signed(graph)


@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_encode_signed_leaves_biases_in_float_and_both_branches_quantized(
    int8_checkpoint: Checkpoint, precision: str
) -> None:
    graph = quantized_graph(int8_checkpoint)
    encode_signed(graph, precision)
    floats = ir.DataType.FLOAT if precision == "int8" else ir.DataType.FLOAT16
    layers = list(nodes_of(graph.graph, "Conv", "Gemm"))
    assert len(layers) == 21
    for layer in layers:
        assert input_of(layer, 2).dtype == floats
        stored, dequantize = weight_of(layer)
        assert dequantize is not None
        assert (stored.dtype, input_of(dequantize, 1).dtype) == (ir.DataType.INT8, floats)
    adds = list(nodes_of(graph.graph, "Add"))
    assert len(adds) == 8
    assert {v.producer().op_type for a in adds for v in a.inputs} == {DEQUANTIZE}  # type: ignore[union-attr]
    zeros = [array_of(input_of(n, 2)) for n in nodes_of(graph.graph, QUANTIZE, DEQUANTIZE)]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)


def logits_as_written(graph: ir.Model, path: Path, images: np.ndarray) -> np.ndarray:
    ir.save(graph, path)
    onnx.checker.check_model(path, full_check=True)
    with TARGETS["onnx"].load(path, "cpu", RunOptions(as_written=True)) as session:
        return np.concatenate([session.run(image[None]) for image in images])


@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_encode_signed_agrees_with_fake_quantization(
    int8_checkpoint: Checkpoint, tmp_path: Path, precision: str
) -> None:
    graph = quantized_graph(int8_checkpoint)
    encode_signed(graph, precision)
    images = np.random.default_rng(0).standard_normal((20, 3, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        expected = int8_checkpoint.build()(torch.from_numpy(images)).numpy()
    found = logits_as_written(graph, tmp_path / "m.onnx", images)
    assert np.abs(found - expected).max() <= 0.1 * np.ptp(expected)
    assert found.dtype == np.float32


def test_to_half_agrees_with_the_float_network(checkpoint: Checkpoint, tmp_path: Path) -> None:
    graph = canonical_graph(folded(checkpoint), 16, BatchRange(1, 1, 1), quantized=False)
    encode_signed(graph, "fp16")
    assert {v.dtype for v in graph.graph.initializers.values()} == {ir.DataType.FLOAT16}
    images = np.random.default_rng(0).standard_normal((8, 3, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        expected = checkpoint.build()(torch.from_numpy(images)).numpy()
    found = logits_as_written(graph, tmp_path / "m.onnx", images)
    assert 0 < np.abs(found - expected).max() <= 0.01 * np.ptp(expected)


def test_to_half_refuses_when_a_scale_is_subnormal() -> None:
    model = ir.from_proto(one_convolution(np.int8(0), scale=3e-5))
    with pytest.raises(CheckError, match=r"input\.(de)?quantize has a scale of 3e-05"):
        to_half(model)


def test_to_half_refuses_when_a_number_is_too_large() -> None:
    model = ir.from_proto(one_convolution(np.int8(0)))
    bias = model.graph.initializers["bias"]
    bias.const_value = ir.tensor(np.full(4, 7e4, np.float32), name="bias")
    with pytest.raises(CheckError, match="tensor bias reaches 7e\\+04"):
        to_half(model)


def test_to_half_widens_steps_when_a_channel_has_hardly_any_weight() -> None:
    model = ir.from_proto(one_convolution(np.int8(0)))
    steps = np.array([0.1, 1e-8, SMALLEST_NORMAL / 2, 0.2], np.float32)
    model.graph.initializers["steps"].const_value = ir.tensor(steps, name="steps")
    model.graph.initializers["weight"].const_value = ir.tensor(
        np.full((4, 3, 1, 1), 60, np.int8), name="weight"
    )
    to_half(model)
    stored, dequantize = weight_of(next(nodes_of(model.graph, "Conv")))
    assert dequantize is not None
    found = array_of(input_of(dequantize, 1))
    assert np.array_equal(found, np.maximum(steps, SMALLEST_NORMAL).astype(np.float16))
    assert array_of(stored)[:, 0, 0, 0].tolist() == [60, 0, 30, 60]
