"""Everything random in a training: its seed, its state, and kernels without any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# Without it cuBLAS picks its workspace anew each time, and sums in another order.
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def seed_everything(seed: int) -> None:
    """Seed torch (all devices) and numpy's global generator."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def rng_state() -> dict[str, Any]:
    """States of the global generators, as tensors and plain values."""
    legacy = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy_key": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
        "numpy_position": int(legacy["state"]["pos"]),
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Undo what happened since `rng_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    key = state["numpy_key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, state["numpy_position"], 0, 0.0))


@contextmanager
def reproducible(wanted: bool) -> Iterator[None]:
    """A block in which torch uses only kernels that give the same each time, if that is wanted.

    It has none of some operations on a GPU: these raise a RuntimeError, which says so.
    """
    if not wanted:
        yield
        return
    # Read when cuBLAS is used first.
    os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
