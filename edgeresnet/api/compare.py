"""Accuracy and latency of models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgeresnet.api.data import measured_data
from edgeresnet.api.opening import is_checkpoint, open_model
from edgeresnet.device.measure.compare import compare as compare_models
from edgeresnet.device.session import check_devices
from edgeresnet.errors import MissingError
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results import CompareResults
from edgeresnet.settings.measuring import Budgets, RunOptions

if TYPE_CHECKING:
    from edgeresnet.device.session import Opened


def compare(
    models: Sequence[str | Path],
    budgets: Budgets | None = None,
    *,
    device: str | None = None,
    options: RunOptions | None = None,
    rounds: int = 200,
    seed: int = 0,
    image_size: int | None = None,
    references: Sequence[int] | None = None,
    skip_missing: bool = False,
    context: TaskContext | None = None,
) -> CompareResults:
    """Measure accuracy (paired) and latency (by turns) of a baseline and candidates.

    A script that calls this begins its work under ``if __name__ == "__main__":``: each model is
    timed in a process of its own.

    Args:
        models: the baseline first; each a bundle, ``.onnx``, ``.xml``, ``.engine`` or checkpoint.
        budgets: that the candidates must keep; None sets none. A missed one is no error: the
            ``verdict`` says ``fail``.
        device: where bundles and model files run; None: where each target usually does.
        options: how they run.
        rounds: timed runs of each model, at least.
        seed: of the order of the runs and of the bootstrap.
        image_size: of foreign checkpoints.
        references: for each model the index of the one that its speed-up is against; None: the
            baseline's.
        skip_missing: leave out candidates that cannot run here.
        context: data (else what the models remember) and how the work reports.

    Raises:
        InputError: the models do not take one batch size, or one cannot take the data.
        MissingError: a runtime or device is not here.
    """
    paths = [Path(path) for path in models]
    options, context = options or RunOptions(), context or TaskContext()
    check_devices(paths, device)
    with ExitStack() as stack:
        opened = _open(stack, paths, device, options, image_size, skip_missing, context)
        measured = measured_data(opened, context)
        total = len(opened) * len(measured.dataset)
        progress = images_progress("evaluating", total, enabled=context.progress)
        advance = stack.enter_context(progress)
        result = compare_models(
            opened,
            measured.dataset,
            budgets or Budgets(),
            rounds=rounds,
            batch=options.batch,
            seed=seed,
            references=references,
            bound=[binding.dataset for binding in measured.bindings],
            on_images=advance,
        )
    return cast(CompareResults, result)


def _open(
    stack: ExitStack,
    paths: Sequence[Path],
    device: str | None,
    options: RunOptions,
    image_size: int | None,
    skip_missing: bool,
    context: TaskContext,
) -> list[Opened]:
    """All models, those left out that may be."""
    opened = []
    for path in paths:
        # A checkpoint runs on the CPU, whatever device its bundles are for.
        own = None if is_checkpoint(path) else device
        try:
            model = open_model(path, device=own, options=options, image_size=image_size)
            opened.append(stack.enter_context(model))
        except MissingError as error:
            if not skip_missing or path == paths[0]:
                raise
            context.on_step(f"{path} is left out: {error.cause}")
    return opened
