"""What the name of a precision says; the device half needs it without torch."""

from __future__ import annotations

from typing import Literal

# "int8+fp16" is INT8 with half precision around it, where the graph itself says so: TensorRT.
# "w8a16" has 8-bit weights and 16-bit activations: QNN.
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8+fp16", "w8a16"]
WIDE = "w8a16"


def is_quantized(precision: str) -> bool:
    """Whether convolutions compute in integers."""
    return precision == WIDE or precision.split("+")[0] == "int8"


def float_precision(precision: str) -> str:
    """What the floats of a model are computed in: fp32, fp16 or bf16."""
    if not is_quantized(precision):
        return precision
    return precision.partition("+")[2] or "fp32"


def layer_precision(precision: str) -> str:
    """What the layers themselves are computed in."""
    return "int8" if precision.startswith("int8") else precision
