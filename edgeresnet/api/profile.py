"""How fast a model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from edgeresnet.api.opening import check_own_inputs, is_bundle, open_model, readable
from edgeresnet.device.machine.affinity import on_cpus
from edgeresnet.device.measure.limits import where_time_goes
from edgeresnet.device.measure.profile import profile_model
from edgeresnet.progress import OnStep, silent
from edgeresnet.results.measured import ProfileResults
from edgeresnet.settings.inputs import NO_CHANGES
from edgeresnet.settings.measuring import ProfileSettings, RunOptions


def profile(
    model: str | Path,
    *,
    device: str | None = None,
    batches: Sequence[int] | None = None,
    options: RunOptions | None = None,
    image_size: int | None = None,
    layers: bool = False,
    why_slow: bool = False,
    how: ProfileSettings | None = None,
    on_step: OnStep = silent,
) -> ProfileResults:
    """Measure latency, throughput, memory and energy of a model on a device.

    Args:
        model: bundle, ``.onnx``, ``.xml``, ``.engine`` or checkpoint.
        device: where it runs; None: where its target usually does.
        batches: sizes, each measured in a session of its own; None: the model's smallest.
        options: how it runs.
        image_size: of a checkpoint, or of a bare file that leaves it open.
        layers: list each layer too, from the runtime's own profiler.
        why_slow: hold what the runtime executes against the ideal graph, and tell what each
            departure from it costs.
        how: how long, on which processors, with which numbers of threads and of runs at once.
        on_step: told what was assumed of a foreign checkpoint.

    Returns:
        The figures at the first batch size, and those of all under ``batches``.

    Raises:
        InputError: the model does not take a batch size, or there is no such device.
        MissingError: runtime or device are not here, or only emulated.
        CheckError: the CPU runs a part that was meant for another device.
    """
    with readable(model):
        if is_bundle(Path(model)):
            check_own_inputs(Path(model), image_size, NO_CHANGES)
    how = how or ProfileSettings()
    with on_cpus(how.cpus):
        rows, timed = profile_model(
            Path(model), open_model, device=None if device is None else device.lower(),
            batches=batches, options=options, image_size=image_size, layers=layers or why_slow,
            how=how, on_step=on_step,
        )  # fmt: skip
    # Raw samples stand once, in their row.
    first = {key: value for key, value in rows[0].items() if key != "samples_ms"}
    result: dict[str, Any] = {"schema": 1, **first, "batches": rows}
    if timed is not None:
        # Of runs at once a median says nothing of the peak that one of them reaches.
        p50_ms = rows[0]["p50_ms"] if rows[0].get("concurrency", 1) == 1 else None
        result |= where_time_goes(timed, p50_ms, listed=layers, why_slow=why_slow)
    return cast(ProfileResults, result)
