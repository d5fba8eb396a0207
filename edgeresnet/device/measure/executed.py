"""What a runtime executes, held against the precision that a manifest says of each layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeresnet.device.targets.precision import is_quantized

if TYPE_CHECKING:
    from edgeresnet.device.targets.protocol import Kernel

ADD = ".add"
# Of what multiplies by weights, in the kernels' names of any runtime.
WEIGHTED = re.compile("Conv|Gemm|MatMul|FullyConnected|InnerProduct")


def precision_faults(
    layers: Sequence[Mapping[str, Any]],
    kernels: Sequence[Kernel],
    precision: str,
    *,
    adopted: bool = False,
) -> list[str]:
    """Layers that are not executed as the manifest says: in integers, or in float.

    Which float a processor takes for another (fp32 for fp16, say) is its own affair.

    Args:
        layers: {name, precision, …} of the manifest.
        kernels: what the runtime executes.
        precision: of the whole model, as the manifest says.
        adopted: the model is somebody else's, whose names of layers in float a runtime need not
            keep; as many kernels in float must be left as have other names. It keeps ours.
    """
    where = {name: kernel for kernel in kernels for name in kernel.layers}
    faults = []
    if not is_quantized(precision) and (
        lied := [one["name"] for one in layers if is_quantized(str(one.get("precision")))]
    ):
        faults.append(f"the model is said to be {precision}, and {lied[0]} to be in integers")
    elif is_quantized(precision) and not any(
        is_quantized(str(one.get("precision"))) for one in layers
    ):
        faults.append(f"the model is said to be {precision}, and no layer to be in integers")
    renamed = _renamed(layers, kernels, where) if adopted else set()
    for layer in layers:
        name, told = layer["name"], str(layer.get("precision"))
        kernel = where.get(name)
        if name in renamed:
            continue
        if kernel is None:
            faults.append(f"{name} ({told}) is in none of the runtime's {len(kernels)} kernels")
        elif is_quantized(told) != is_quantized(kernel.precision):
            faults.append(f"{name} is said to be {told} and runs in {kernel.precision}")
    return faults


def _renamed(
    layers: Sequence[Mapping[str, Any]], kernels: Sequence[Kernel], where: Mapping[str, Kernel]
) -> set[str]:
    """Layers in float that no kernel is called after, and as many kernels in float could be."""
    told = {layer["name"] for layer in layers}
    left = sum(
        not is_quantized(kernel.precision)
        for kernel in kernels
        if WEIGHTED.search(kernel.op) and told.isdisjoint(kernel.layers)
    )
    missing = {
        layer["name"]
        for layer in layers
        if layer["name"] not in where and not is_quantized(str(layer.get("precision")))
    }
    return missing if len(missing) <= left else set()


def integer_counts(
    layers: Sequence[Mapping[str, Any]], kernels: Sequence[Kernel]
) -> dict[str, int]:
    """For each ONNX operator how many layers run in integer kernels, residual additions too.

    Args:
        layers: {name, op, …} of the manifest.
        kernels: what the runtime executes.
    """
    operators = {layer["name"]: str(layer["op"]) for layer in layers}
    counts = {"Conv": 0, "Add": 0, "Gemm": 0}
    names = {name for kernel in kernels if is_quantized(kernel.precision) for name in kernel.layers}
    for name in names:
        op = operators.get(name, "Add" if name.endswith(ADD) else None)
        if op in counts:
            counts[op] += 1
    return counts
