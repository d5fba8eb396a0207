"""What a model of others answers: logits or probabilities, and one output for two classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeresnet.closing import Closing
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Kernel, LayerProfile, Session

# The last of a model without a classifier, see `edgeresnet.device.measure.neighbours`.
Answers = Literal["logits", "probabilities", "embeddings"]
# Operators that end in probabilities, by the name that a runtime has for them.
PROBABILITIES = ("Softmax", "SoftMax", "Sigmoid")
# Those after which 0 is the border of two classes; behind any other it may be 0.5.
LOGITS = re.compile(r"MatMul|Gemm|FullyConnected|Conv|Pool|ReduceMean|^(Add|Sub|Subtract|Tanh)$")
# Rounding of a sum of 1,000 half-precision numbers.
SUM_TOLERANCE = 0.01


def answers_of(answered: NDArray[np.float32], endings: Sequence[str]) -> Answers:
    """Whether a model gives logits or probabilities.

    Args:
        answered: (N, classes), its answer to noise.
        endings: the operators that make its outputs; none where the file does not tell.
    """
    told = {ending in PROBABILITIES for ending in endings}
    if len(told) == 1:
        return "probabilities" if told.pop() else "logits"
    # Nothing, or of several outputs different things: what comes out tells.
    shares = bool((answered >= 0).all() and (answered <= 1).all())
    near = shares and bool((np.abs(answered.sum(1) - 1) <= SUM_TOLERANCE).all())
    return "probabilities" if near else "logits"


def two_classes(
    path: Path, session: Session, answers: Answers, endings: Sequence[str]
) -> TwoClasses:
    """A session of one output as one of two classes.

    Raises:
        InputError: whether that output is a logit or a probability is not told.
    """
    told = {ending in PROBABILITIES for ending in endings}
    unknown = [
        ending for ending in endings if ending not in PROBABILITIES and not LOGITS.search(ending)
    ]
    if len(told) != 1 or unknown:
        last = f" (its last operation is {unknown[0]})" if unknown and unknown[0] else ""
        raise InputError(
            f"{path} has one output and does not tell whether it is a logit or a probability{last}",
            "give the .onnx or .xml that it was made of, whose last operation is the linear layer "
            "or the sigmoid.",
        )
    return TwoClasses(session, answers)


class TwoClasses(Closing):
    """A session whose one output says how much the second of two classes is meant.

    Args:
        session: gives (N, 1); closed with this one.
        answers: what that output is.
    """

    classes: int | None = 2

    def __init__(self, session: Session, answers: Answers) -> None:
        self._session, self._answers = session, answers
        self.emulated, self.batch_sizes = session.emulated, session.batch_sizes
        self.input_shape, self.input_dtype = session.input_shape, session.input_dtype

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, 2): logits 0 and z, or probabilities 1 - p and p."""
        second = self._session.run(batch)
        first = 1 - second if self._answers == "probabilities" else np.zeros_like(second)
        return np.concatenate([first, second], axis=1)

    def layers(self, runs: int) -> list[LayerProfile]:
        """Those of the session."""
        return self._session.layers(runs)

    def kernels(self) -> list[Kernel]:
        """Those of the session."""
        return self._session.kernels()

    def close(self) -> None:
        """Give back what is held."""
        self._session.__exit__(None, None, None)
