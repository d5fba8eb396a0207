"""Prunes a float checkpoint and wins its accuracy back."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.api.data import on_foreign, with_data
from edgeresnet.api.opening import load_checkpoint
from edgeresnet.api.saving import check_output, check_room_to_train, resumable, save_result
from edgeresnet.api.together import by_first, data_parallel
from edgeresnet.files.locks import one_writer
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import PruneResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import ModelSettings


@data_parallel
@one_writer("output")
def prune(
    source: str | Path,
    output: str | Path,
    options: PruneOptions,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    context: TaskContext | None = None,
) -> PruneResults:
    """Write a narrower (or 2:4 sparse) float checkpoint, recovered by training.

    Interrupted, it goes on where it was when it is called again with the same settings.

    Args:
        source: float checkpoint of any origin.
        output: checkpoint file to write.
        options: the budget and all settings.
        arch: of ``torchvision:WEIGHTS``; refused where the source says it.
        image_size: of a foreign checkpoint; of our own it overrides.
        inputs: what is told of its preprocessing, over what it says itself.
        raw: take a foreign checkpoint's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        context: data (else what the checkpoint remembers); how the work reports and goes on.

    Raises:
        InputError: the checkpoint is quantized, data and checkpoint do not fit, or the budget
            cannot be met or leaves nothing to prune.
        MissingError: latency is the budget and the device is not here.
        CheckError: the training diverged.
    """
    path = Path(output)
    by_first(lambda: check_output(path))
    context = resumable(context or TaskContext(), path, "work")
    model = ModelSettings(weights=str(source))
    resume_path = context.resume_path
    by_first(lambda: check_room_to_train(path, model, resume_path))
    from edgeresnet.host.pruning.prune_checkpoint import prune_checkpoint

    checkpoint = load_checkpoint(
        source,
        arch=arch,
        image_size=image_size,
        inputs=inputs,
        raw=raw,
        network=network,
        on_step=on_foreign(context),
    )
    context = with_data(context, checkpoint, str(source))
    pruned, figures = prune_checkpoint(checkpoint, options, context=context)
    by_first(lambda: save_result(pruned, path, context))
    return figures
