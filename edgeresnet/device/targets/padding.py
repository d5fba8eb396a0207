"""Any number of inputs through a session that takes certain batches only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session


def run_padded(session: Session, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Run any number of inputs through a session, whatever batch it takes.

    Args:
        session: takes ``session.batch_sizes``.
        batch: (n, …); pieces too small for the session repeat their last input.

    Returns:
        (n, classes) float32.
    """
    smallest, largest = session.batch_sizes
    parts = []
    for start in range(0, len(batch), largest):
        part = batch[start : start + largest]
        missing = max(0, smallest - len(part))
        padded = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        parts.append(session.run(padded)[: len(part)])
    return np.concatenate(parts)
