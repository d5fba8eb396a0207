"""How fast a model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure.profile import profile_model
from edgeresnet.results import ProfileResults
from edgeresnet.settings.measuring import RunOptions


def profile(
    model: str | Path,
    *,
    device: str | None = None,
    batches: Sequence[int] | None = None,
    options: RunOptions | None = None,
    image_size: int | None = None,
    layers: bool = False,
) -> ProfileResults:
    """Measure latency, throughput, memory and energy of a model on a device.

    Args:
        model: bundle, ``.onnx``, ``.xml``, ``.engine`` or checkpoint.
        device: where it runs; None: where its target usually does.
        batches: sizes, each measured in a session of its own; None: the model's smallest.
        options: how it runs.
        image_size: of a foreign checkpoint.
        layers: measure each layer too, from the runtime's own profiler.

    Returns:
        The figures at the first batch size, and those of all under ``batches``.

    Raises:
        InputError: the model does not take a batch size, or there is no such device.
        MissingError: runtime or device are not here, or only emulated.
        CheckError: the CPU runs a part that was meant for another device.
    """
    rows, profiles = profile_model(
        Path(model),
        open_model,
        device=device,
        batches=batches,
        options=options,
        image_size=image_size,
        layers=layers,
    )
    listed = {"layers": [vars(layer) for layer in profiles]} if layers else {}
    result: dict[str, Any] = {"schema": 1, **rows[0], "batches": rows, **listed}
    return cast(ProfileResults, result)
