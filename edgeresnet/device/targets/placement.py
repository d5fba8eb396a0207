"""Which unit runs which part of a network, and in which precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.errors import CheckError

NOWHERE = "unknown"


@dataclass(frozen=True)
class Share:
    """What one unit computes in one precision.

    Attributes:
        layers: number of convolutions and classifiers; of kernels where the model was exported
            elsewhere.
        layers_share: of all of them.
        macs_share: of all multiply-accumulates; None where the model does not tell them.
    """

    unit: str
    precision: str
    layers: int
    layers_share: float
    macs_share: float | None


def shares(kernels: Sequence[Kernel], layers: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Sum up what was placed where, the largest share first.

    Args:
        kernels: what the runtime executes.
        layers: {name, macs, …} of the model's manifest; empty for a bare file. One that is in
            no kernel counts as on the unit ``unknown``; where none is in any, as of a model that
            was exported elsewhere, kernels are counted.
    """
    where = {name: kernel for kernel in kernels for name in kernel.layers}
    if any(layer["name"] in where for layer in layers):
        placed = [(where.get(layer["name"]), int(layer["macs"])) for layer in layers]
    else:
        placed = [(kernel, 0) for kernel in kernels]
    sums: dict[tuple[str, str], list[int]] = {}
    for kernel, macs in placed:
        key = (kernel.unit, kernel.precision) if kernel else (NOWHERE, NOWHERE)
        count = sums.setdefault(key, [0, 0])
        count[0] += 1
        count[1] += macs
    total = sum(macs for _, macs in placed)
    unsorted = [
        Share(*key, count, count / len(placed), macs / total if total else None)
        for key, (count, macs) in sums.items()
    ]
    return sorted(unsorted, key=lambda share: (-(share.macs_share or 0.0), -share.layers))


def check_fallback(kernels: Sequence[Kernel], device: str) -> None:
    """Refuse a model of which the CPU runs a part that was meant for ``device``.

    Raises:
        CheckError: names the layers.
    """
    if device == "cpu":
        return
    fallen = [kernel for kernel in kernels if kernel.unit == "cpu"]
    if not fallen:
        return
    names = [f"{' + '.join(kernel.layers) or '(unnamed)'} ({kernel.op})" for kernel in fallen]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    raise CheckError(
        f"{len(fallen)} of {len(kernels)} kernels do not run on {device} but on the CPU: "
        f"{', '.join(names[:5])}{more}",
        "export it again for this target, or accept it with --allow-fallback.",
    )
