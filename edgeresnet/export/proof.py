"""What a runtime really executes, read from its own optimized graph.

An INT8 model that loads and agrees may still compute half its layers in float. So every
convolution, residual add and classifier is looked up in the graph that the runtime executes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeresnet.bundle import ENGINES
from edgeresnet.errors import CheckError
from edgeresnet.export.graph import nodes_of
from edgeresnet.targets.onnx import OnnxTarget
from edgeresnet.targets.openvino import compile_model
from edgeresnet.targets.protocol import BuildOptions, RunOptions
from edgeresnet.targets.tensorrt_engine import ENGINE, read_record
from edgeresnet.targets.tensorrt_layers import EngineLayer

# ONNX operator in the exported graph: the kernels that compute it in integers in ONNX Runtime.
ONNX_KERNELS = {"Conv": ("QLinearConv",), "Add": ("QLinearAdd",), "Gemm": ("QGemm",)}
PREPROCESS = "preprocess."


@dataclass(frozen=True)
class Kernel:
    """One executed operation: its kind, whether it computes in integers, and what is fused in."""

    op: str
    integer: bool
    layers: tuple[str, ...]


def expected_layers(model: ir.Model) -> dict[str, str]:
    """Name and operator of every layer that must run in integers."""
    return {
        node.name or "": node.op_type
        for node in nodes_of(model.graph, *ONNX_KERNELS)
        if not (node.name or "").startswith(PREPROCESS)
    }


def prove_integer(
    expected: Mapping[str, str], kernels: list[Kernel], runtime: str
) -> dict[str, int]:
    """Find every expected layer in an integer kernel.

    Args:
        expected: layer name to ONNX operator.
        kernels: what the runtime executes.
        runtime: its name, for the message.

    Returns:
        For each operator the number of layers in integer kernels.

    Raises:
        CheckError: names the layers that run in float, and in which kernel.
    """
    where = {layer: kernel for kernel in kernels for layer in kernel.layers}
    faults = []
    counts = dict.fromkeys(ONNX_KERNELS, 0)
    for layer, op in expected.items():
        kernel = where.get(layer)
        if kernel is None:
            faults.append(f"{layer} is in none of its kernels")
        elif not kernel.integer:
            faults.append(f"{layer} runs in float ({kernel.op})")
        else:
            counts[op] += 1
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CheckError(
            f"{runtime} does not run the whole network in INT8: {'; '.join(faults[:5])}{more}",
            "a newer runtime may fuse these layers; otherwise report this with what `edgeresnet "
            "devices` prints. Without --int8 the export is fp32 and works.",
        )
    return counts


def onnx_kernels(model_path: Path, expected: Mapping[str, str]) -> list[Kernel]:
    """The kernels of ONNX Runtime's optimized model on this CPU."""
    with tempfile.TemporaryDirectory(prefix="edgeresnet-") as folder:
        optimized = ir.load(
            OnnxTarget().save_engine(model_path, "cpu", Path(folder), BuildOptions())
        )
        kernels = []
        for node in optimized.graph:
            # ONNX Runtime appends a token to the name of a node that it fuses.
            layer = (node.name or "").split("_token_")[0]
            if layer in expected:
                integer = node.op_type in ONNX_KERNELS[expected[layer]]
                kernels.append(Kernel(node.op_type, integer, (layer,)))
    return kernels


def openvino_kernels(model_path: Path, expected: Mapping[str, str]) -> list[Kernel]:
    """The kernels of OpenVINO's runtime model on this CPU."""
    compiled = compile_model(model_path, "cpu", RunOptions())
    kernels = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()

        def fact(key: str, facts: Any = facts) -> str:
            return str(facts[key].astype(str)) if key in facts else ""

        kind = fact("layerType")
        if kind not in ("Const", "Reorder", "Reshape"):
            # OpenVINO appends to the name of a layer that it rewrites: fc/WithoutBiases/….
            layers = tuple(name.split("/")[0] for name in fact("originalLayersNames").split(","))
            integer = fact("runtimePrecision") in ("u8", "i8")
            kernels.append(Kernel(f"{kind} {fact('primitiveType')}", integer, layers))
    return kernels


def tensorrt_kernels(model_path: Path, expected: Mapping[str, str]) -> list[Kernel] | None:
    """The layers of the engine that was built beside the model; None if none could be built.

    TensorRT computes a convolution or classifier in integers if what it multiplies is int8. An
    add becomes part of a pointwise kernel, which must hand on int8.
    """
    engines = sorted((model_path.parent / ENGINES).glob(f"*{ENGINE}"))
    if not engines:
        return None
    kernels = []
    for facts in read_record(engines[0]).layers:
        layer = EngineLayer(**facts)
        adds = tuple(name for name in layer.layers if expected.get(name) == "Add")
        if adds:
            wrote = ", ".join(layer.outputs)
            kernels.append(Kernel(f"{layer.op} to {wrote}", set(layer.outputs) == {"int8"}, adds))
        # The rest of a convolution, as its bias, is in pointwise kernels under its name too.
        products = tuple(name for name in layer.layers if expected.get(name) in ("Conv", "Gemm"))
        if products and layer.matrix:
            integer = set(layer.inputs) == {"int8"} and layer.weights == "int8"
            kernels.append(Kernel(f"{layer.op} of {layer.precision}", integer, products))
    return kernels


KERNELS: dict[str, Callable[[Path, Mapping[str, str]], list[Kernel] | None]] = {
    "onnx": onnx_kernels,
    "openvino": openvino_kernels,
    "tensorrt": tensorrt_kernels,
}
