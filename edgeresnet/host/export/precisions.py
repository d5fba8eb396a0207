"""Whether a checkpoint can be exported to a target in a precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.device.targets.export_support import check_prover, check_written
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint


def check_precision(checkpoint: Checkpoint, target: str, precision: str) -> None:
    """Refuse what the target cannot run, with the reason, before any work."""
    target_of(target)
    if is_quantized(precision) and checkpoint.precision != "int8":
        raise InputError(
            "an INT8 bundle needs a quantized checkpoint",
            "quantize first: edgeresnet quantize CKPT --data DATA -o int8.pt.",
        )
    check_written(target, precision)
    check_prover(target, precision)
