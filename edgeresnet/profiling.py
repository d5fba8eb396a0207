"""How fast a model is at each batch size, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.board import ROOT, board_state, board_warnings
from edgeresnet.device import environment
from edgeresnet.latency import measure
from edgeresnet.meters import find_meter
from edgeresnet.opening import Opened, open_model
from edgeresnet.power import measure_energy
from edgeresnet.targets.protocol import LayerProfile, RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYER_RUNS = 20


def profile_model(
    path: Path,
    *,
    device: str = "cpu",
    batches: Sequence[int] | None = None,
    threads: int | None = None,
    image_size: int | None = None,
    layers: bool = False,
    root: Path = ROOT,
) -> tuple[list[dict[str, Any]], list[LayerProfile]]:
    """Measure a model at each batch size, in a session of its own.

    Args:
        path: bundle, ``.onnx``, ``.xml`` or checkpoint.
        device: where to run.
        batches: sizes; None takes the model's smallest.
        threads: None leaves the choice to the runtime.
        image_size: of a foreign checkpoint.
        layers: measure each layer too, in a further session, since its timers cost time.
        root: where sys/, proc/ and etc/ of the machine lie.

    Returns:
        One row of the JSON contract of ``profile`` for each size, and the layers at the first.
    """
    rows = []
    sizes: list[int | None] = [*batches] if batches else [None]
    for batch in sizes:
        options = RunOptions(threads=threads, batch=batch)
        with open_model(path, device=device, options=options, image_size=image_size) as opened:
            size = batch or opened.session.batch_sizes[0]
            images = _noise(opened, size)
            before = board_state(root)
            latency = measure(opened.session, images)
            after = board_state(root)
            energy, missed = _energy(opened, images, root)
            rows.append(
                {
                    "target": opened.target,
                    "device": opened.device,
                    "precision": opened.precision,
                    "threads": threads,
                    "load_ms": opened.load_ms,
                    **latency.to_dict(),
                    **energy,
                    "environment": environment(root),
                    "board": {"before": before.to_dict(), "after": after.to_dict()},
                    "warnings": [*board_warnings(before, after), *missed],
                }
            )
    found: list[LayerProfile] = []
    if layers:
        first = batches[0] if batches else None
        options = RunOptions(threads=threads, batch=first, profile_layers=True)
        with open_model(path, device=device, options=options, image_size=image_size) as opened:
            images = _noise(opened, first or opened.session.batch_sizes[0])
            for _ in range(LAYER_RUNS):
                opened.session.run(images)
            found = opened.session.layers()
    return rows, found


def _energy(opened: Opened, images: NDArray[Any], root: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures of `Energy` where a sensor tells them, and why one that is there does not."""
    nvidia_gpu = opened.target.startswith("tensorrt") and opened.device.startswith("gpu")
    meter, reason = find_meter(root, nvidia_gpu=nvidia_gpu)
    if meter is None:
        return {}, [reason] if reason else []
    try:
        energy = measure_energy(lambda: opened.session.run(images), meter, batch=len(images))
    except OSError as error:
        return {}, [f"no energy figures: {meter.name} stopped answering ({error})."]
    return energy.to_dict(), []


def _noise(opened: Opened, batch: int) -> NDArray[Any]:
    """A batch of noise; a convolution's time does not depend on its values."""
    generator = np.random.default_rng(0)
    shape = (batch, *opened.session.input_shape)
    if opened.embed_preprocess:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.standard_normal(shape, dtype=np.float32)
