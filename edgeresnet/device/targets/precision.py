"""What the name of a precision says; the device half needs it without torch."""

from __future__ import annotations

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
