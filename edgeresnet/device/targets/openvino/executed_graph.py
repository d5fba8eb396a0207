"""Which operations of a file are in each kernel that OpenVINO made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.executed import ExecutedGraph, ExecutedKernel, FileNode, Role
from edgeresnet.device.targets.openvino.graph_file import weights_of

ROLES: dict[str, Role] = {
    "Convolution": "convolution", "GroupConvolution": "convolution", "MatMul": "classifier",
    "Add": "add",
    "Relu": "relu", "ReLU": "relu", "Clamp": "relu", "PRelu": "relu",
    "MaxPool": "pool", "AvgPool": "pool", "ReduceMean": "pool",
    "FakeQuantize": "quantize", "Convert": "other",
    "Transpose": "layout",
    "Reshape": "view", "Squeeze": "view", "Unsqueeze": "view",
}  # fmt: skip
# By the kinds of a compiled model; an elementwise kernel does what the operations do in it.
KERNEL_ROLES: dict[str, Role] = {
    "Convolution": "convolution", "FullyConnected": "classifier", "MatMul": "classifier",
    "Pooling": "pool", "Reduce": "pool",
    "FakeQuantize": "quantize",
    "Reorder": "layout", "Transpose": "layout",
    "Reshape": "view",
}  # fmt: skip
ENDS = ("Parameter", "Constant", "Result")
INTEGERS = ("i8", "u8", "i4", "u4")
# OpenVINO splits layers, and appends what each part is to its name.
ADDED = re.compile(r"/WithoutBiases|/Dequantization")


def executed_graph(core: Any, path: Path, compiled: Any) -> ExecutedGraph:
    """Both graphs of a model.

    Args:
        core: an ``openvino.Core``.
        path: the file.
        compiled: the ``openvino.CompiledModel`` of it.
    """
    model = core.read_model(str(path), weights_of(path) or "")
    nodes, names = _file_nodes(model.get_ordered_ops())
    roles = {node.name: node.role for node in nodes}
    kernels = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        listed = _fact(operation, "originalLayersNames").split(",")
        anchors = dict.fromkeys(names[own] for name in listed if (own := _plain(name)) in names)
        role = KERNEL_ROLES.get(_fact(operation, "layerType"), "other")
        carries = role == "layout" or {roles[name] for name in anchors} == {"quantize"}
        kernels.append(
            ExecutedKernel(
                str(operation.get_friendly_name()),
                (_change_of_type(operation) or role) if carries else role,
                tuple(anchors),
                tuple(_makers(operation)),
            )
        )
    return ExecutedGraph(nodes, tuple(kernels))


def _fact(operation: Any, key: str) -> str:
    """What a compiled model says of a kernel; empty where it does not."""
    facts = operation.get_rt_info()
    return str(facts[key].astype(str)) if key in facts else ""


def _change_of_type(operation: Any) -> Role | None:
    """What a kernel does that reads floats and writes integers, or the other way."""
    made = _fact(operation, "outputPrecisions")
    given = [_fact(value.get_node(), "outputPrecisions") for value in operation.input_values()]
    if not given or (given[0] in INTEGERS) == (made in INTEGERS):
        return None
    return "quantize" if made in INTEGERS else "dequantize"


def _plain(name: str) -> str:
    return ADDED.split(name)[0]


def _makers(operation: Any) -> list[str]:
    return [str(value.get_node().get_friendly_name()) for value in operation.input_values()]


def _file_nodes(operations: Any) -> tuple[tuple[FileNode, ...], dict[str, str]]:
    """The operations on more than constants, and for each name of the file that of its node.

    The part of a layer that adds the bias is part of the layer.
    """
    names: dict[str, str] = {}
    roles: dict[str, Role] = {}
    constant: set[str] = set()
    nodes: list[FileNode] = []
    for operation in operations:
        kind, full = str(operation.get_type_name()), str(operation.get_friendly_name())
        makers = _makers(operation)
        if kind == "Constant" or (makers and all(name in constant for name in makers)):
            constant.add(full)
            continue
        if kind in ENDS:
            continue
        given = [name for name in makers if name not in constant]
        inputs = tuple(dict.fromkeys(names[name] for name in given if name in names))
        role = ROLES.get(kind, "other")
        if role == "add" and len(given) == 1:
            if inputs and roles[inputs[0]] in ("convolution", "classifier"):
                names[full] = names[_plain(full)] = inputs[0]
                continue
            role = "other"
        own = _plain(full)
        names[full] = names[own] = own
        roles[own] = role
        nodes.append(FileNode(own, role, inputs, _integer_weights(operation, kind)))
    return tuple(nodes), names


def _integer_weights(operation: Any, kind: str) -> bool:
    """Whether the constant that a layer multiplies by is stored in integers."""
    if ROLES.get(kind) not in ("convolution", "classifier"):
        return False
    node = operation.input_value(1).get_node()
    while node.get_input_size():
        node = node.input_value(0).get_node()
    return str(node.output(0).get_element_type().get_type_name()) in INTEGERS
