"""A session of ONNX Runtime that says what became of each node of its file."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from edgeresnet.device.targets.executed import ExecutedGraph, ExecutedKernel, FileNode, Role
from edgeresnet.device.targets.onnx.graph import Node, OnnxGraph
from edgeresnet.device.targets.onnx.graph_file import read_graph
from edgeresnet.device.targets.onnxruntime_session import MADE, OnnxSession
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.errors import InputError

ROLES: dict[str, Role] = {
    "Conv": "convolution", "FusedConv": "convolution", "NhwcFusedConv": "convolution",
    "QLinearConv": "convolution", "ConvInteger": "convolution",
    "Gemm": "classifier", "FusedGemm": "classifier", "QGemm": "classifier",
    "MatMul": "classifier", "FusedMatMul": "classifier", "QLinearMatMul": "classifier",
    "MatMulInteger": "classifier", "MatMulIntegerToFloat": "classifier",
    "DynamicQuantizeMatMul": "classifier",
    "Add": "add", "QLinearAdd": "add", "Sum": "add",
    "Relu": "relu", "Clip": "relu", "LeakyRelu": "relu", "QLinearLeakyRelu": "relu",
    "MaxPool": "pool", "NhwcMaxPool": "pool", "AveragePool": "pool", "GlobalAveragePool": "pool",
    "QLinearAveragePool": "pool", "QLinearGlobalAveragePool": "pool", "ReduceMean": "pool",
    "QLinearReduceMean": "pool",
    "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize",
    "Transpose": "layout", "ReorderInput": "layout", "ReorderOutput": "layout",
    "Identity": "view", "Flatten": "view", "Reshape": "view", "Squeeze": "view",
    "Unsqueeze": "view",
}  # fmt: skip
# Weights in integers, behind a DequantizeLinear or in an integer operator.
INTEGER_KINDS = (2, 3, 21, 22)
NHWC, BLOCKED = re.compile(r"_token_\d+$"), "_nchwc"
PARTS = ("/MatMulAddFusion", "/MatMulBnFusion", "/duplicated")


class OnnxGraphSession(OnnxSession):
    """As `OnnxSession`, of a file whose graph is read as well."""

    keeps_graph = True

    def layers(self, runs: int) -> list[LayerProfile]:
        """Each kernel with the nodes of the file that are in it; ends the profiling."""
        return self.graph.placed(super().layers(runs))

    @cached_property
    def graph(self) -> ExecutedGraph:
        """The file's graph, and the one that ONNX Runtime made of it for this very session.

        Another session's would not do: what the runtime adds has other names in each.

        Raises:
            InputError: the session does not profile.
        """
        if self._profile_dir is None:
            raise InputError("layers were not timed", "open the session with profile_layers.")
        written = read_graph(self._path)
        made = read_graph(Path(self._profile_dir.name) / MADE)
        return ExecutedGraph(file_nodes(written), _kernels(made, written))


def file_nodes(graph: OnnxGraph) -> tuple[FileNode, ...]:
    """The nodes of a file that work on more than constants; biases belong to what they are of."""
    names: dict[str, str] = {}
    nodes: list[FileNode] = []
    constant = set(graph.constants)
    roles: dict[str, Role] = {}
    for node in graph.nodes:
        given = [name for name in node.inputs if name and name not in constant]
        if not given and (node.inputs or node.op == "Constant"):
            constant.update(node.outputs)
            continue
        inputs = tuple(dict.fromkeys(names[name] for name in given if name in names))
        role = ROLES.get(node.op, "other")
        if role == "add" and len(given) == 1:
            if inputs and roles[inputs[0]] in ("convolution", "classifier"):
                names.update(dict.fromkeys(node.outputs, inputs[0]))
                continue
            role = "other"
        own = _own_name(node)
        roles[own] = role
        names.update(dict.fromkeys(node.outputs, own))
        nodes.append(FileNode(own, role, inputs, _integer_weights(graph, node)))
    return tuple(nodes)


def _own_name(node: Node) -> str:
    return node.name or next(iter(node.outputs), "")


def _integer_weights(graph: OnnxGraph, node: Node) -> bool:
    found = [graph.constant(name) for name in node.inputs[1:2]]
    return any(one is not None and one[1].kind in INTEGER_KINDS for one in found)


def _kernels(made: OnnxGraph, written: OnnxGraph) -> tuple[ExecutedKernel, ...]:
    makers = {name: node.name for node in made.nodes for name in node.outputs if name}
    return tuple(
        ExecutedKernel(
            node.name,
            ROLES.get(node.op, "other"),
            _anchors(node.name, written),
            tuple(makers[name] for name in node.inputs if name in makers),
        )
        for node in made.nodes
    )


def _anchors(name: str, written: OnnxGraph) -> tuple[str, ...]:
    """The node of the file that a kernel is named after, or that makes the tensor it is."""
    plain = NHWC.sub("", name)
    for part in PARTS:
        plain = plain.removesuffix(part)
    if plain in written.named:
        return (plain,)
    maker = written.makers.get(plain.removesuffix(BLOCKED))
    return () if maker is None else (_own_name(maker),)
