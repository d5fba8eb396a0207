"""What a model must look like to be an image classifier: one place for every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.targets.outputs import place_of_answer
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOATS = ("float32", "float16")
PIXELS = "uint8"
FIX = (
    "give a model with one input of images, float or uint8, (N, 3, H, W) or (N, H, W, 3), and one "
    "output of logits (N, classes)."
)


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


@dataclass(frozen=True)
class Classifier:
    """How a model takes images and answers.

    Attributes:
        images: its input, with the image size that was open filled in.
        output: which of its outputs the logits are.
        classes: how many logits an image gets; None where the model leaves that open.
    """

    images: TensorInfo
    output: int
    classes: int | None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One input's shape."""
        assert self.images.shape is not None
        _, a, b, c = (side or 0 for side in self.images.shape)
        return a, b, c


def channels_last(shape: Sequence[int | None]) -> bool:
    """Whether the three sides of an image end with its channels; those that have none do not."""
    return shape[-1] == 3 and shape[-3] != 3


def check_classifier(
    what: object,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    image_size: int | None = None,
    told: Sequence[str] = (),
) -> Classifier:
    """Refuse a model that no session could give images to, or read logits from.

    Args:
        what: the model, for the message.
        inputs: all of them.
        outputs: all of them; one of them may be logits.
        image_size: for a model that leaves it open.
        told: names of all outputs, where a manifest tells them; else one may be logits.

    Raises:
        InputError: several inputs or logits, another rank or type, or an open image size.
    """
    if len(inputs) != 1:
        raise _no_classifier(what, inputs, outputs)
    (images,) = inputs
    if images.shape is None or len(images.shape) != 4:
        raise InputError(f"{what} is not an image classifier: its input is {images}", FIX)
    images = _sized(what, images, image_size)
    if images.dtype not in FLOATS and not (images.dtype == PIXELS and 3 in images.shape[1::2]):  # type: ignore[index]
        raise InputError(f"{what} takes images of a kind that is not known: {images}", FIX)
    if told:
        at = place_of_answer(what, told, [output.name for output in outputs])
        sides = outputs[at].shape
        return Classifier(images, at, sides[1] if sides is not None and len(sides) == 2 else None)
    logits = [at for at, output in enumerate(outputs) if _are_logits(output)]
    if len(outputs) == 1 and not logits:
        raise InputError(f"{what} gives no logits: its output is {outputs[0]}", FIX)
    if len(logits) != 1:
        raise _no_classifier(what, inputs, outputs)
    shape = outputs[logits[0]].shape
    return Classifier(images, logits[0], None if shape is None else shape[1])


def _no_classifier(
    what: object, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> InputError:
    listed = "; ".join(map(str, [*inputs, *outputs]))
    return InputError(
        f"{what} does not tell where images go in and logits come out: it has {len(inputs)} inputs "
        f"and {len(outputs)} outputs ({listed})",
        FIX,
    )


def _sized(what: object, images: TensorInfo, image_size: int | None) -> TensorInfo:
    """The input with the sides filled in that are open."""
    assert images.shape is not None
    sides = images.shape[1:]
    if sides[0] == sides[2] == 3:
        raise InputError(
            f"{what} may have its channels first or last: {images}",
            "export it with an image size that is not 3.",
        )
    if None not in sides:
        return images
    if 3 not in (sides[0], sides[2]):
        raise InputError(
            f"{what} does not tell where its channels are: {images}",
            "export it with 3 as the number of channels.",
        )
    if image_size is None:
        raise InputError(
            f"{what} leaves its image size open: {images}",
            "give --image-size, or export it with a fixed image size.",
        )
    return filled(images, image_size)


def filled(images: TensorInfo, image_size: int | None) -> TensorInfo:
    """An input whose open sides, but for the batch, are the image size."""
    if images.shape is None:
        return images
    batch, *sides = images.shape
    known = (image_size if side is None else side for side in sides)
    return TensorInfo(images.name, (batch, *known), images.dtype)


def _are_logits(output: TensorInfo) -> bool:
    """Whether its second side may be classes: what follows it are sides of 1."""
    if output.dtype not in FLOATS:
        return False
    if output.shape is None:
        return True
    return len(output.shape) >= 2 and all(side in (1, None) for side in output.shape[2:])


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
