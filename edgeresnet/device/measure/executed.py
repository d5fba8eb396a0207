"""What a runtime executes, held against the precision that a manifest says of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeresnet.device.targets.precision import is_quantized

if TYPE_CHECKING:
    from edgeresnet.device.targets.protocol import Kernel

ADD = ".add"


def precision_faults(
    layers: Sequence[Mapping[str, Any]], kernels: Sequence[Kernel], precision: str
) -> list[str]:
    """Layers that are not executed as the manifest says: in integers, or in float.

    Which float a processor takes for another (fp32 for fp16, say) is its own affair.

    Args:
        layers: {name, precision, …} of the manifest.
        kernels: what the runtime executes.
        precision: of the whole model, as the manifest says.
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
    for layer in layers:
        name, told = layer["name"], str(layer.get("precision"))
        kernel = where.get(name)
        if kernel is None:
            faults.append(f"{name} ({told}) is in none of the runtime's {len(kernels)} kernels")
        elif is_quantized(told) != is_quantized(kernel.precision):
            faults.append(f"{name} is said to be {told} and runs in {kernel.precision}")
    return faults


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
