"""What an origin's own configurations have, where neither file nor user says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeresnet.host.models.foreign.origin import Origin


def default_inputs(
    origin: Origin, said: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Channels, mean and std by the names of `InputSpec`, and a line on them.

    Args:
        origin: whose names the tensors have.
        said: of the input by the file; who says one of the three says how all are meant.
        told: by the user; each stands for itself.
    """
    if set(origin.inputs) & set(said):
        return {}, []
    values = {field: value for field, value in origin.inputs.items() if field not in told}
    if not values:
        return {}, []
    if told.get("channels", origin.inputs["channels"]) != origin.inputs["channels"]:
        # The same colours in the order that is told.
        values |= {f: values[f][::-1] for f in ("mean", "std") if f in values}
    options = ", ".join(f"--{field}" for field in values)
    return values, [
        f"{' and '.join(values)} as {origin.defaults_of} have them, for nothing says them here: "
        f"if they are others, give {options}"
    ]
