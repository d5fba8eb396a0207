"""Whether a checkpoint can be exported to a target in a precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.device.targets.export_support import check_prover, check_written
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import LEVELS

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
    if is_quantized(precision):
        _check_streams(checkpoint, target)


def _check_streams(checkpoint: Checkpoint, target: str) -> None:
    """Refuse widths at which the target's integer kernels are known to answer wrongly."""
    for level, channels in zip(LEVELS, checkpoint.widths.streams, strict=True):
        if (why := target_of(target).spec.wrong_stream(channels)) is not None:
            raise InputError(
                f"the residual stream of {level} has {channels} channels, and {why}",
                "prune with --step 16, or export for another target, such as onnx.",
            )
