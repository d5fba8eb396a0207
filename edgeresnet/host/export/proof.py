"""What a runtime really executes, read from its own optimized graph.

An INT8 model that loads and agrees may still compute half its layers in float. So every
convolution, residual add and classifier is looked up in the graph that the runtime executes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.errors import CheckError
from edgeresnet.host.export.graph import nodes_of

# Operators of the exported graph that must run in integers.
INTEGER_OPS = ("Conv", "Add", "Gemm")
PREPROCESS = "preprocess."


def expected_layers(model: ir.Model) -> dict[str, str]:
    """Name and operator of every layer that must run in integers, unless it is to stay float."""
    return {
        node.name or "": node.op_type
        for node in nodes_of(model.graph, *INTEGER_OPS)
        if not (node.name or "").startswith(PREPROCESS)
    }


def prove_integer(
    expected: Mapping[str, str],
    kernels: list[Kernel],
    runtime: str,
    floats: Collection[str] = (),
) -> dict[str, int]:
    """Find every expected layer in an integer kernel, and those that stay float in none.

    An add that stays float becomes part of a convolution's kernel where a runtime can do that, and
    then tells nothing of its own; that its convolution is float is what is looked up.

    Args:
        expected: layer name to ONNX operator, of all layers.
        kernels: what the runtime executes.
        runtime: its name, for the message.
        floats: the layers and adds that stay float.

    Returns:
        For each operator the number of layers in integer kernels.

    Raises:
        CheckError: names the layers that run in float, or in integers, against what was said, and
            in which kernel.
    """
    where = {layer: kernel for kernel in kernels for layer in kernel.layers}
    faults = []
    counts = dict.fromkeys(INTEGER_OPS, 0)
    for layer, op in expected.items():
        kernel = where.get(layer)
        if layer in floats and op == "Add":
            continue
        if kernel is None:
            faults.append(f"{layer} is in none of its kernels")
        elif layer in floats:
            if is_quantized(kernel.precision):
                faults.append(f"{layer} is to stay float and runs in integers ({kernel.op})")
        elif not is_quantized(kernel.precision):
            faults.append(f"{layer} runs in float ({kernel.op})")
        else:
            counts[op] += 1
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        which = "network as it is mixed" if floats else "whole network"
        raise CheckError(
            f"{runtime} does not run the {which} in INT8: {'; '.join(faults[:5])}{more}",
            "a newer runtime may fuse these layers; otherwise report this with what `edgeresnet "
            "devices` prints. Without --int8 the export is fp32 and works.",
        )
    return counts
