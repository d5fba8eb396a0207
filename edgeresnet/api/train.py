"""Trains or fine-tunes a network into a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeresnet.api.data import on_foreign
from edgeresnet.api.opening import load_checkpoint
from edgeresnet.api.saving import check_output, check_room_to_train, resumable, save_result
from edgeresnet.api.together import by_first, data_parallel
from edgeresnet.files.locks import one_writer
from edgeresnet.progress import OnStep, TaskContext, silent
from edgeresnet.results.made import TrainResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from edgeresnet.settings.training import ModelSettings, TrainOptions


@data_parallel
@one_writer("output")
def train(
    output: str | Path,
    model: ModelSettings,
    options: TrainOptions | None = None,
    *,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    context: TaskContext,
) -> TrainResults:
    """Train a ResNet from scratch, or fine-tune ``model.weights``, and write its checkpoint.

    Interrupted, it goes on where it was when it is called again with the same settings.

    Args:
        output: checkpoint file to write.
        model: architecture, stem, and the weights to begin with.
        options: of the training; None: the defaults.
        image_size: height and width in pixels; None: that of the weights, else what suits the data.
        inputs: what is told of the preprocessing, over what ``model.weights`` say.
        context: data and how it is read; how the work reports and goes on.

    Raises:
        InputError: data, weights or options are not usable or do not go together.
        MissingError: a package that this needs is not installed.
        CheckError: the training diverged.
    """
    path = Path(output)
    by_first(lambda: check_output(path))
    context = resumable(context, path, "resume")
    by_first(lambda: check_room_to_train(path, model, context.resume_path))
    from edgeresnet.host.training.train_checkpoint import train_checkpoint

    checkpoint, result = train_checkpoint(
        model, options or TrainOptions(), image_size=image_size, inputs=inputs, context=context
    )
    by_first(lambda: save_result(checkpoint, path, context))
    return {
        "top1": result.top1,
        "epochs_run": result.epochs_run,
        "threads": result.threads,
        "conversions": checkpoint.provenance["conversions"],
        "doubts": checkpoint.provenance.get("doubts", []),
    }


@one_writer("output")
def take_checkpoint(
    output: str | Path,
    source: str,
    *,
    arch: str | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    context: TaskContext | None = None,
    on_step: OnStep = silent,
) -> None:
    """Write a checkpoint of any origin as one of ours, untrained.

    Args:
        output: checkpoint file to write.
        source: checkpoint file, or ``torchvision:ARCH:WEIGHTS``.
        arch: of ``torchvision:WEIGHTS``; refused where the source says it.
        image_size: of a foreign checkpoint.
        inputs: what is told of its preprocessing, over what it says itself.
        raw: take a foreign checkpoint's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        context: how its classes are called, where it does not say itself.
        on_step: told what was assumed of a foreign checkpoint.

    Raises:
        InputError: there is no such checkpoint, or it is none of a ResNet.
    """
    from edgeresnet.host.training.splits import with_class_names

    context = replace(context or TaskContext(), on_step=on_step)
    loaded = load_checkpoint(
        source,
        arch=arch,
        image_size=image_size,
        inputs=inputs,
        raw=raw,
        network=network,
        on_step=on_foreign(context),
    )
    save_result(with_class_names(loaded, context), Path(output), TaskContext())
