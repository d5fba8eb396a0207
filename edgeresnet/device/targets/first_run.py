"""How any model is opened and run for the first time, whoever made it: checked, and watched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.machine.watch import watched
from edgeresnet.device.targets.model_files import check_model
from edgeresnet.device.targets.noise import noise
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session, Target

FLOAT_BYTES = 4


def load(target: Target, path: Path, device: str, options: RunOptions) -> tuple[Session, int]:
    """Open a model file that a stranger may have made.

    Returns:
        The session, and the bytes of the model with its weights.

    Raises:
        InputError: nothing that is opened or that the runtime reads, or it takes too long.
        MissingError: the runtime or the device is not here.
    """
    with guarded(target, path, device, options) as model_bytes:
        return target.load(path, device, options), model_bytes


@contextmanager
def guarded(target: Target, path: Path, device: str, options: RunOptions) -> Iterator[int]:
    """A block in which a target opens or compiles a model file that a stranger may have made.

    Yields:
        The bytes of the model with its weights.

    Raises:
        InputError: nothing that is opened or that the runtime reads, or the block takes too long.
    """
    checked = check_model(path)
    # What compiles for such a device takes minutes, and most of a large machine's memory.
    if target.spec.is_built_for(device) or device != target.spec.default_device:
        yield checked.model_bytes
        return
    with watched(
        path,
        options.first_run_limit_s,
        model_bytes=checked.model_bytes,
        input_bytes=checked.input_bytes * (options.batch or 1),
    ):
        yield checked.model_bytes


def first_run(
    path: Path,
    session: Session,
    options: RunOptions,
    *,
    pixels: bool,
    model_bytes: int | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Run noise through a model, which nothing else may precede.

    Args:
        path: of the model, for messages.
        session: of it.
        options: the batch, and how long it may take.
        pixels: the session normalizes by itself and takes uint8.
        model_bytes: of the model with its weights; None: memory has no limit.

    Returns:
        What it answered (N, classes), and the milliseconds that it took.

    Raises:
        InputError: it fails, or takes longer or more memory than it may.
    """
    batch = options.batch or session.batch_sizes[0]
    size = FLOAT_BYTES * batch * prod(session.input_shape)
    with watched(path, options.first_run_limit_s, model_bytes=model_bytes, input_bytes=size):
        images = noise(session, batch, pixels=pixels)
        start = time.perf_counter()
        answered = session.run(images)
        return answered, (time.perf_counter() - start) * 1e3
