"""Batches that a session cannot take as they are."""

from __future__ import annotations

import numpy as np

from edgeresnet.device.targets.padding import run_padded
from tests.fakes import FakeSession


def test_run_padded_fills_the_last_batch_when_sizes_do_not_divide() -> None:
    session = FakeSession(lambda batch: batch[:, :, 0, 0], batch_sizes=(4, 4))
    batch = np.arange(10 * 3, dtype=np.float32).reshape(10, 3, 1, 1)
    assert np.array_equal(run_padded(session, batch), batch[:, :, 0, 0])
    assert session.seen == [4, 4, 4]
