"""All outputs of a bundle, held against those that it was exported with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.device.bundle.logits import LARGEST_SHARE_OF_A_CLASS, allowed_outside
from edgeresnet.device.targets.outputs import LOGITS, GivesOutputs, Output, columns_of
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Kernel, LayerProfile, Session


# Of integer kernels' values. How far rounding moves one depends on image and place too, and a
# channel's bound is their mean, so more lie outside than of logits: up to 0.7 % of random networks.
SHARE_OUTSIDE = 0.02


@dataclass(frozen=True, eq=False)
class GoldenFeatures:
    """What the golden images must give, beside logits.

    Attributes:
        values: (n, columns) float32, see `Output.sampled`.
        bounds: (columns,) float32, how far rounding may move each on any device.
    """

    values: NDArray[np.float32]
    bounds: NDArray[np.float32]


@dataclass(frozen=True)
class FeatureCheck:
    """How far one output is from the reference's.

    Attributes:
        name: of the output.
        largest_difference: inf where a value is not finite.
        share_outside: of all compared values, [0, 1].
        allowed: the share that may lie outside of the bounds.
        worst_channel: whose values lie outside most often, and how often, [0, 1].
        bound: the mean of all bounds.
    """

    name: str
    largest_difference: float
    share_outside: float
    allowed: float
    worst_channel: tuple[int, float]
    bound: float

    def fault(self) -> str | None:
        """What is wrong, in one sentence; None if nothing is."""
        worst, share = self.worst_channel
        if self.share_outside > self.allowed:
            why = f"{self.share_outside:.2%} of all lie outside, {self.allowed:.2%} may"
        elif share > LARGEST_SHARE_OF_A_CLASS:
            why = f"{share:.0%} of channel {worst}'s lie outside"
        else:
            return None
        return (
            f"{self.name} up to {self.largest_difference:.3g} away, where the bounds are "
            f"{self.bound:.3g} in the mean: {why}"
        )

    def to_dict(self) -> dict[str, float]:
        """For the manifest's proof."""
        return {
            "bound": self.bound,
            "largest_difference": self.largest_difference,
            "share_outside": self.share_outside,
        }


class AllOutputs(Closing):
    """A session that answers otherwise with the outputs of another one; a base class.

    Args:
        session: gives all outputs; it stays open when this one is closed.

    Raises:
        InputError: the session knows one output only.
    """

    classes: int | None = None

    def __init__(self, session: Session) -> None:
        self._session, self._gives = session, giving(session)
        self.emulated, self.batch_sizes = session.emulated, session.batch_sizes
        self.input_shape, self.input_dtype = session.input_shape, session.input_dtype

    def layers(self, runs: int) -> list[LayerProfile]:
        """Those of the session."""
        return self._session.layers(runs)

    def kernels(self) -> list[Kernel]:
        """Those of the session."""
        return self._session.kernels()

    def close(self) -> None:
        """The session is closed by whom it is."""


class SideBySide(AllOutputs):
    """A session that answers with all outputs in one row: (N, columns), see `Output.sampled`.

    Args:
        session: see `AllOutputs`.
        outputs: what its manifest tells.
    """

    def __init__(self, session: Session, outputs: Sequence[Output]) -> None:
        super().__init__(session)
        self._outputs = tuple(outputs)

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The compared values of all outputs, in the order of the manifest."""
        found = self._gives.outputs(batch)
        for output in self._outputs:
            shape = found[output.name].shape
            if shape != (len(batch), *output.shape):
                raise InputError(
                    f"{output.name} of {len(batch)} images has the shape {shape}, and its manifest "
                    f"tells {output.shape} for each",
                    "export the bundle again.",
                )
        return np.concatenate([one.sampled(found[one.name]) for one in self._outputs], axis=1)


def giving(session: Session) -> GivesOutputs:
    """The session as one that gives all outputs.

    Raises:
        InputError: it knows one only.
    """
    if not isinstance(session, GivesOutputs):
        raise InputError(
            "the runtime gives one output, and the bundle has several",
            "install a newer edgeresnet.",
        )
    return session


def split(
    values: NDArray[np.float32], outputs: Sequence[Output]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The logits (n, classes) of what `SideBySide` answers, and the rest (n, columns).

    Logits come first; of a bundle without there are none, (n, 0).
    """
    classes = sum(one.columns for one in outputs if one.name == LOGITS)
    return values[:, :classes], values[:, classes:]


def features_among(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """The outputs but the logits."""
    return tuple(one for one in outputs if one.name != LOGITS)


def compare_features(
    values: NDArray[np.float32],
    golden: GoldenFeatures,
    outputs: Sequence[Output],
    precision: str,
) -> Iterator[FeatureCheck]:
    """Hold features against a reference, output by output.

    Args:
        values: (n, columns) as `split` gives them.
        golden: the reference.
        outputs: whose values they are, without logits.
        precision: of the model that gave ``values``.
    """
    for output, part in columns_of(outputs):
        difference = np.abs(values[:, part].astype(np.float64) - golden.values[:, part])
        outside = ~(difference <= golden.bounds[part])
        largest = float(difference.max())
        channels = outside.reshape(len(outside), output.shape[0], -1).mean(axis=(0, 2))
        yield FeatureCheck(
            name=output.name,
            largest_difference=largest if np.isfinite(largest) else float("inf"),
            share_outside=float(outside.mean()),
            allowed=_allowed(len(outside), output.columns, precision),
            worst_channel=(int(channels.argmax()), float(channels.max())),
            bound=float(golden.bounds[part].mean()),
        )


def _allowed(images: int, columns: int, precision: str) -> float:
    """The share of values that may lie outside of the bounds."""
    share = allowed_outside(images, columns, precision)
    return max(SHARE_OUTSIDE, share) if is_quantized(precision) else share


def fault_of_bounds(golden: GoldenFeatures, outputs: Sequence[Output], most: float) -> str | None:
    """Why some bounds can be no export's: any values would be the golden ones within them.

    Args:
        golden: as it is stored.
        outputs: without logits.
        most: of an output's range, that a bound may be.
    """
    for output, part in columns_of(outputs):
        limit = most * spread_of(golden.values[:, part])
        largest = float(golden.bounds[part].max())
        # Stored as float32.
        if largest > limit * (1 + 1e-5):
            return f"{output.name} may be {largest:.3g} away, and at most {limit:.3g} is explained"
    return None


def spread_of(values: NDArray[np.float32]) -> float:
    """The range of an output's values; 1 where they are all the same."""
    return float(values.max() - values.min()) or 1.0
