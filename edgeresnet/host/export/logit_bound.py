"""What PyTorch answers, and how far from that a runtime's logits may be.

An integer runtime rounds where fake quantization rounds, but not always to the same number. Behind
a ReLU its uint8 grid has twice the steps; elsewhere the float that is rounded differs in its last
bits, and where it stands between two steps the rounding differs by a whole one. Each such step
moves what the next layer rounds: after a few layers two networks with the very same grids round
independently of each other. So what is asked is how far *rounding* can move the logits, and that
the grids say. With

- ``reference``: the logits of the fake-quantized network,
- ``unrounded``: those of the same network, of the same quantized weights and clip points, whose
  activations are not rounded to their grids (infinitely small steps),

``reference - unrounded`` is the error that rounding to the canonical grids makes. No target has
larger steps (`edgeresnet.host.export.encodings.encode`: uint8 behind a ReLU has 127/255 of them, 16
bits less, all others the same), so its own error, ``logits - unrounded``, is no wider, and the
difference of both, which round independently, has a variance of at most twice that of one::

    logits - reference = (logits - unrounded) - (reference - unrounded)
    deviation(logits - reference) <= sqrt(2) * deviation(reference - unrounded)

The deviation is the root of the mean square over all logits of the images of the proof. Measured
on ResNet-18 and 50, trained and random, as a share of the right side: 0.71 with 16-bit activations
(which hardly round, so only one error is left), 0.77 to 0.94 with uint8, 0.54 to 0.86 with FP16
around, 0.08 to 0.37 where both have the very same grids. The step of the classifier's input alone
is 0.10 to 0.20 of it: what earlier layers round is most of the difference, so the bound is of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.targets.precision import float_precision, is_quantized
from edgeresnet.host.models.fake_quant import FakeQuant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.inputs import InputSpec

# Of what computes in float: as a share of the logits' range.
FLOAT_TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}
# Of a normal distribution 0.27 % lie outside of three deviations; 1 % may.
DEVIATIONS = 3.0
BATCH = 32


def reference_logits(
    model: QuantResNet, images: NDArray[np.uint8], spec: InputSpec, precision: str
) -> NDArray[np.float32]:
    """Logits (n, classes) float32 that a bundle of that precision must give.

    Args:
        model: folded, in eval mode; its quantizers are switched on or off.
        images: (n, H, W, 3) uint8.
        spec: how they become inputs.
        precision: of the bundle.
    """
    for quantizer in model.quantizers().values():
        quantizer.enabled = is_quantized(precision)
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(normalize(images[start : start + BATCH], spec)))
            for start in range(0, len(images), BATCH)
        ]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def logit_bound(
    model: QuantResNet,
    images: NDArray[np.uint8],
    spec: InputSpec,
    precision: str,
    reference: NDArray[np.float32],
) -> float:
    """How far from ``reference`` rounding may move a logit; see the module's derivation.

    Args:
        model: as in `reference_logits`.
        images: (n, H, W, 3) uint8, of which ``reference`` are the logits.
        spec: how they become inputs.
        precision: of the bundle; a float one may be a share of the logits' range away.
        reference: (n, classes) float32.

    Returns:
        The bound in logits.
    """
    if not is_quantized(precision):
        return bound_of(None, precision, reference)
    error = reference.astype(np.float64) - unrounded_logits(model, images, spec, precision)
    return bound_of(error, precision, reference)


def bound_of(
    error: NDArray[np.float64] | None, precision: str, reference: NDArray[np.float32]
) -> float:
    """`logit_bound`, by the error that rounding makes.

    Args:
        error: (n, classes), reference minus unrounded; None of a float precision.
        precision: of the bundle.
        reference: (n, classes) float32.
    """
    spread = float(reference.max() - reference.min()) or 1.0
    if error is None:
        return FLOAT_TOLERANCES[precision] * spread
    bound = DEVIATIONS * float(np.sqrt(2 * np.square(error).mean()))
    # The grids' steps can be too small to see; what is computed around them is float all the same.
    return max(bound, FLOAT_TOLERANCES[float_precision(precision)] * spread)


def unrounded_logits(
    model: QuantResNet, images: NDArray[np.uint8], spec: InputSpec, precision: str
) -> NDArray[np.float32]:
    """As `reference_logits`, of the network whose activations are not rounded to their grids."""
    with unrounded(model):
        return reference_logits(model, images, spec, precision)


@contextmanager
def unrounded(model: QuantResNet) -> Iterator[None]:
    """Clip activations at the ends of their grids, and round them no more."""

    def clip(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        assert isinstance(module, FakeQuant)
        low, high = module.range
        step = module.step()
        clipped: Tensor = inputs[0].clamp(low * step, high * step)
        return clipped

    # One that is off clips nothing: the layers around it stay float.
    activations = [q for q in model.quantizers().values() if q.axis < 0 and not q.idle]
    handles = [quantizer.register_forward_hook(clip) for quantizer in activations]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
