"""What a network gives beside its logits: the tensors of its levels, and the pooled embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS, POOL = "logits", "pool"
# Of each channel of a level; its corners are two of them.
MOST_PLACES = 16


@dataclass(frozen=True)
class Output:
    """One output of a bundle's model, float32.

    Attributes:
        name: ``logits``, ``C2`` to ``C5``, or ``pool``.
        shape: of one image's: (classes,) or (channels,), or (channels, H, W) of a level.
        stride: pixels of the image for one of the level; None of what has no height and width.
    """

    name: str
    shape: tuple[int, ...]
    stride: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the manifest has them."""
        return {"name": self.name, "shape": list(self.shape), "stride": self.stride}

    @property
    def places(self) -> NDArray[np.int64]:
        """(p,) the places of an image, row by row, whose values are compared.

        All of a level of 224 px would be 3 MB for each image; these few are of every channel.
        """
        pixels = int(np.prod(self.shape[1:], dtype=np.int64))
        return np.unique(np.linspace(0, pixels - 1, MOST_PLACES).astype(np.int64))

    @property
    def columns(self) -> int:
        """How many values of an image are compared."""
        return self.shape[0] * len(self.places)

    def sampled(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The compared values (n, columns), channel by channel, of outputs (n, *shape)."""
        flat = values.reshape(len(values), self.shape[0], -1)
        found: NDArray[np.float32] = flat[..., self.places].astype(np.float32, copy=False)
        return found.reshape(len(values), -1)


def columns_of(outputs: Sequence[Output]) -> Iterator[tuple[Output, slice]]:
    """Each output, and which of all compared columns are its own."""
    start = 0
    for output in outputs:
        yield output, slice(start, start + output.columns)
        start += output.columns


def answer_of(names: Sequence[str]) -> str:
    """Which output a run answers with: the logits, else the embedding, else the deepest level."""
    return next((name for name in (LOGITS, POOL) if name in names), names[-1])


@runtime_checkable
class GivesOutputs(Protocol):
    """A session that gives all outputs of its model."""

    def outputs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """Every output (N, …) of one batch, by its name.

        Args:
            batch: as `edgeresnet.device.targets.protocol.Session.run` takes it.
        """
        ...


def flattened(output: NDArray[Any]) -> NDArray[Any]:
    """An output (N, …) as (N, k), as a run answers it."""
    return output.reshape(len(output), -1)


def place_of_answer(what: object, told: Sequence[str], has: Sequence[str]) -> int:
    """Which of a model's outputs a run answers with.

    Args:
        what: the model, for the message.
        told: the names that its manifest tells.
        has: the names that it has.

    Raises:
        InputError: these are others.
    """
    if sorted(told) != sorted(has):
        raise InputError(
            f"{what} has the outputs {', '.join(has)}, and its manifest tells {', '.join(told)}",
            "export the bundle again.",
        )
    return has.index(answer_of(told))
