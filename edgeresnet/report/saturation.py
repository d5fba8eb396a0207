"""What 7-bit weights are for, and what they cost, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def saturation_line(saturation: Mapping[str, Any] | None) -> list[str]:
    """One line where there is something to say; nothing of a bundle that is safe as it is."""
    if saturation is None or (saturation["safe"] and not saturation["narrowed"]):
        return []
    if not saturation["safe"]:
        return ["8-bit weights: not for processors whose 8-bit products saturate (--for-device)"]
    line = f"7-bit weights in {len(saturation['narrowed'])} layers, right on every processor"
    agreement, change = saturation.get("agreement"), saturation.get("top1_change")
    if agreement is None:
        return [line]
    cost = "" if change is None else f", top-1 {change:+.4f}"
    return [f"{line}: agreement {agreement:.4f}{cost} on {saturation.get('images')} images"]
