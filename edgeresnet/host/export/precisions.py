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
    _check_mixed(checkpoint, target, precision)
    check_written(target, precision)
    check_prover(target, precision)


def _check_mixed(checkpoint: Checkpoint, target: str, precision: str) -> None:
    layers = checkpoint.float_layers
    if layers and is_quantized(precision) and not target_of(target).spec.mixes_floats:
        raise InputError(
            f"target {target} runs no float layers among integer ones, and {layers[0]} "
            f"{f'and {len(layers) - 1} more are' if layers[1:] else 'is'} to stay float",
            "export a checkpoint that is quantized throughout, or the float one without --int8.",
        )
