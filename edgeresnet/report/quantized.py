"""What quantizing cost, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def quantize_line(result: Mapping[str, Any], output: object) -> str:
    """What quantizing cost: of top-1, or without labels how often the answers are the same."""
    if result["top1_float"] is None:
        low, high = result["agreement_interval"]
        cost = (
            f"agreement with the float network {result['agreement']:.4f} ({low:.2f} to "
            f"{high:.2f}) on {result['images']} images without labels"
        )
    else:
        cost = (
            f"top-1 {result['top1_float']:.4f} -> {result['top1_int8']:.4f} "
            f"(agreement {result['agreement']:.4f})"
        )
    return f"{result['method']}: {cost}; {output}"
