"""Image classifiers of a few operations, as files of each kind that users have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def write_onnx(
    path: Path,
    *,
    classes: int = 10,
    shape: Sequence[int | str] = ("N", 3, 16, 16),
    dtype: int = FLOAT,
    outputs: int = 1,
    spatial: bool = False,
    told: bool = True,
    reshape: Sequence[int] | None = None,
) -> Path:
    """One convolution to logits, their mean over the image.

    Args:
        path: to write.
        classes: channels of the convolution.
        shape: of the input.
        dtype: of the input; cast to float where it is none.
        outputs: the logits, that often.
        spatial: the output stays (N, classes, 1, 1).
        told: the output's shape stands in the file.
        reshape: the logits' last shape, whatever the batch is.
    """
    channels = shape[1] if shape[1] in (1, 3) else shape[3]
    weights = np.random.default_rng(0).standard_normal((classes, channels, 3, 3))
    half = dtype == TensorProto.FLOAT16
    kind = np.float16 if half else np.float32
    constants = [
        numpy_helper.from_array(weights.astype(kind), "w"),
        numpy_helper.from_array(np.arange(1, classes + 1).astype(kind), "b"),
    ]
    nodes, images = [], "images"
    if dtype not in (FLOAT, TensorProto.FLOAT16):
        nodes.append(helper.make_node("Cast", [images], ["cast"], to=FLOAT))
        images = "cast"
    if channels == shape[3]:
        nodes.append(helper.make_node("Transpose", [images], ["nchw"], perm=(0, 3, 1, 2)))
        images = "nchw"
    nodes.append(helper.make_node("Conv", [images, "w", "b"], ["c"], name="conv1", pads=[1] * 4))
    nodes.append(helper.make_node("GlobalAveragePool", ["c"], ["pooled"], name="pool"))
    last = "pooled"
    if reshape is not None:
        constants.append(numpy_helper.from_array(np.array(reshape, np.int64), "sides"))
        nodes.append(helper.make_node("Reshape", [last, "sides"], ["reshaped"], name="reshape"))
        last = "reshaped"
    elif not spatial:
        nodes.append(helper.make_node("Flatten", [last], ["flat"], name="flatten"))
        last = "flat"
    results = []
    sides = (shape[0], classes, 1, 1) if spatial else (shape[0], classes)
    for i in range(outputs):
        name = "logits" if i == 0 else f"logits{i}"
        nodes.append(helper.make_node("Identity", [last], [name], name=name))
        given = (sides if reshape is None else reshape) if told else None
        kind_of = TensorProto.FLOAT16 if half else FLOAT
        results.append(helper.make_tensor_value_info(name, kind_of, given))
    given_input = helper.make_tensor_value_info("images", dtype, shape)
    graph = helper.make_graph(nodes, "small", [given_input], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def write_openvino(onnx_path: Path) -> Path:
    """The same as an ``.xml`` with its ``.bin``."""
    path = onnx_path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=False)
    return path


def keep_weights_apart(path: Path, location: str) -> Path:
    """Move the weights of a file to another in its folder."""
    onnx.save_model(
        onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0
    )
    return path
