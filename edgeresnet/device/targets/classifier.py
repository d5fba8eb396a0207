"""What a model must look like to be an image classifier: one place for every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOATS = ("float32", "float16")
PIXELS = "uint8"
FIX = "give a model with one input of images, float (N, C, H, W) or uint8 (N, H, W, 3), and logits."


@dataclass(frozen=True)
class TensorInfo:
    """An input or output, as the runtime describes it.

    Attributes:
        name: the runtime's.
        shape: None for an open side; None as a whole where even the rank is open.
        dtype: numpy's name of its elements, or the runtime's own where numpy has none.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} {self.dtype} of any shape"
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.dtype} ({sides})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "shape": shape, "dtype": self.dtype}


def check_classifier(
    what: object, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> tuple[TensorInfo, int | None]:
    """Refuse a model that no session could give images to, or read logits from.

    Args:
        what: the model, for the message.
        inputs: all of them.
        outputs: all of them.

    Returns:
        The input of images, and the number of classes; None where the model leaves that open.

    Raises:
        InputError: several inputs or outputs, another rank or type, or an open image size.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        listed = "; ".join(map(str, [*inputs, *outputs]))
        raise InputError(
            f"{what} is not an image classifier: it has {len(inputs)} inputs and {len(outputs)} "
            f"outputs ({listed})",
            FIX,
        )
    (images,), (logits,) = inputs, outputs
    if images.shape is None or len(images.shape) != 4:
        raise InputError(f"{what} is not an image classifier: its input is {images}", FIX)
    if None in images.shape[1:]:
        raise InputError(
            f"{what} leaves its image size open: {images}", "export it with a fixed image size."
        )
    pixels = images.dtype == PIXELS and images.shape[3] == 3
    if images.dtype not in FLOATS and not pixels:
        raise InputError(f"{what} takes images of a kind that is not known: {images}", FIX)
    if logits.dtype not in FLOATS:
        raise InputError(f"{what} gives no logits: its output is {logits}", FIX)
    return images, _classes(what, logits)


def _classes(what: object, logits: TensorInfo) -> int | None:
    """The second side, if what follows it are sides of 1."""
    if logits.shape is None:
        return None
    rest = logits.shape[2:]
    if len(logits.shape) < 2 or any(side not in (1, None) for side in rest):
        raise InputError(f"{what} gives no logits: its output is {logits}", FIX)
    return logits.shape[1]


def as_logits(output: NDArray[Any], batch: int) -> NDArray[np.float32]:
    """An output (N, classes) or (N, classes, 1, 1) as logits (N, classes) float32.

    Raises:
        InputError: it is neither, or not of ``batch`` images.
    """
    if output.ndim < 2 or len(output) != batch or output[0].size != output.shape[1]:
        raise InputError(
            f"the model answers {batch} images with an output of shape {output.shape}, which are "
            "no logits",
            "give a model whose output is (N, classes).",
        )
    return output.reshape(batch, -1).astype(np.float32, copy=False)
