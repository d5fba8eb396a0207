"""What a runtime reads from a bare model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.classifier import TensorInfo


@dataclass(frozen=True)
class ModelFacts:
    """What a model file tells.

    Attributes:
        inputs: as the file has them; None for an engine, which only its device opens.
        outputs: likewise.
        operators: the kind of each operation.
        layers: see `layer_facts`; of the operations that multiply by weights.
        opset: version of the operators; None for what has none.
        weights_path: a file beside it that holds the weights, and counts as its size.
        parameters: elements of all weights and biases, shared ones once; None: those of the layers.
    """

    inputs: list[TensorInfo] | None
    outputs: list[TensorInfo] | None
    operators: list[str]
    layers: list[dict[str, Any]]
    opset: str | None
    weights_path: Path | None = None
    parameters: int | None = None


def layer_facts(
    name: str,
    op: str,
    output: Sequence[int],
    weights: Sequence[int],
    *,
    products: int,
    bias: int,
    precision: str | None,
) -> dict[str, Any]:
    """A layer as ``inspect`` lists it.

    Args:
        name: as in the file.
        op: its kind.
        output: shape (N, channels, …) of what it writes.
        weights: shape of what it multiplies by.
        products: multiplications for one element of the output.
        bias: elements added.
        precision: what it computes in; None where that is not known.
    """
    return {
        "name": name,
        "op": op,
        "out_channels": output[1],
        "macs": prod(output[1:]) * products,
        "parameters": prod(weights) + bias,
        "precision": precision,
    }
