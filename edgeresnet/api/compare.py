"""Accuracy and latency of models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgeresnet.api.data import MeasuredData, measured_data, on_foreign, say_doubts, say_shared
from edgeresnet.api.opening import (
    check_run_options,
    is_bundle,
    is_checkpoint,
    open_model,
    readable,
    run_options_of,
    told_options,
    with_effect,
)
from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.machine.affinity import on_cpus
from edgeresnet.device.measure.budgets import verdict_of
from edgeresnet.device.measure.compare import compare as compare_models
from edgeresnet.device.measure.stability import stability_doubts
from edgeresnet.device.session import ModelSource, check_devices
from edgeresnet.device.targets.model_files import SizeIsFixedError
from edgeresnet.errors import InputError, MissingError
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results.measured import CompareResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.measuring import Budgets, RunOptions, check_all_images

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.measure.accuracy import Predictions
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
    inputs: InputChanges = NO_CHANGES,
    references: Sequence[int] | None = None,
    skip_missing: bool = False,
    all_images: bool = False,
    contests: Mapping[str, Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
    cpus: str | None = None,
    context: TaskContext | None = None,
) -> CompareResults:
    """Measure accuracy (paired) and latency (by turns) of a baseline and candidates.

    A script that calls this begins its work under ``if __name__ == "__main__":``: each model is
    timed in a process of its own.

    Args:
        models: the baseline first; each a bundle, ``.onnx``, ``.xml``, ``.engine`` or checkpoint.
        budgets: that the candidates must keep; None sets none. A missed one is no error: the
            ``verdict`` says ``fail``. Those of accuracy are decided on as few images as it takes.
        device: where bundles and model files run; None: where each target usually does.
        options: how they run.
        rounds: timed runs of each model, at least.
        seed: of the order of images and runs, and of the bootstrap.
        image_size: of the models that leave it open; refused where none does.
        inputs: what is told of the preprocessing of checkpoints and bare files; refused where all
            models are bundles.
        references: for each model the index of the one that its speed-up is against; None: the
            baseline's.
        skip_missing: leave out candidates that cannot run here.
        all_images: answer all images, though fewer decide the budgets of accuracy.
        contests: by a name, such as of a target, the indices of one network's models there, INT8
            and float; ``fastest`` of the result then says of each which it is.
        names: what the models are called in the result, one each; None: as their files.
        cpus: logical processors to run on, such as ``0-3,8``, which the processes that time models
            inherit; None: all that this process may use.
        context: data (else what the models remember) and how the work reports. On images without
            labels there is agreement with the baseline in place of top-1.

    Raises:
        InputError: the models do not take one batch size, or one cannot take the data.
        MissingError: a runtime or device is not here.
    """
    paths = [Path(path) for path in models]
    options, context = options or RunOptions(), context or TaskContext()
    budgets = budgets or Budgets()
    check_all_images(all_images, budgets.of_accuracy())
    device = None if device is None else device.lower()
    _check_options(paths, device, options)
    with on_cpus(cpus), ExitStack() as stack:
        told = ModelSource(paths[0], device, options, image_size, inputs)
        called = None if names is None else dict(zip(paths, names, strict=True))
        opened = _open(stack, paths, told, skip_missing, context, called or {})
        measured = measured_data(opened, context, unlabelled=True)
        doubts = say_shared(opened, measured.dataset, context)
        total = len(opened) * len(measured.dataset)
        bar = images_progress("evaluating", total, enabled=context.progress)
        result = compare_models(
            opened, measured.dataset, budgets, rounds=rounds, batch=options.batch, seed=seed,
            references=references, bound=[binding.dataset for binding in measured.bindings],
            all_images=all_images, contests=contests, on_images=stack.enter_context(bar),
            on_predictions=lambda own: doubts.extend(_say_doubts(opened, measured, own, context)),
        )  # fmt: skip
        told_of_data = _told_of(measured.dataset, context)
    return cast(CompareResults, {**_judged(result, doubts), **told_of_data})


def _told_of(dataset: Dataset, context: TaskContext) -> dict[str, Any]:
    """What a result tells of its images: their hash, and what was converted."""
    return {
        "data_sha256": content_fingerprint(dataset, context.on_step),
        "conversions": say_conversions([dataset], context.on_step),
    }


def _judged(result: Mapping[str, Any], doubts: list[str]) -> dict[str, Any]:
    """A result with what there is to say against it, and its verdict."""
    doubts = [*doubts, *stability_doubts(result["rows"])]
    verdict = verdict_of(
        result["budgets"], strict=result["strict"], doubts=doubts, rows=result["rows"]
    )
    return {**result, "doubts": doubts, **verdict}


def _say_doubts(
    models: Sequence[Opened],
    measured: MeasuredData,
    answers: Sequence[Predictions],
    context: TaskContext,
) -> list[str]:
    """Tells what there is to say against each model's answers."""
    return [
        line
        for model, binding, own in zip(models, measured.bindings, answers, strict=True)
        for line in say_doubts(own, binding, context.on_step, model.name)
    ]


def _check_options(paths: Sequence[Path], device: str | None, options: RunOptions) -> None:
    """Refuse devices that a model has not, and what means nothing to any of them."""
    for path in paths:
        with readable(path):
            check_devices([path], device)
    told = told_options(raw=options.raw, network=options.network)
    if told and not any(map(is_checkpoint, paths)):
        raise InputError(f"{told} is of checkpoints, and none is compared", "leave it out.")
    check_run_options(paths, device, options)


def _options_of(path: Path, told: ModelSource) -> RunOptions:
    """What of the options means something to one of the models."""
    useful = with_effect(told.options, run_options_of(path, told.device))
    return useful if is_checkpoint(path) else useful.of_no_checkpoint()


def _open(
    stack: ExitStack,
    paths: Sequence[Path],
    told: ModelSource,
    skip_missing: bool,
    context: TaskContext,
    called: Mapping[Path, str],
) -> list[Opened]:
    """All models, those left out that may be.

    Args:
        stack: closes them.
        paths: the baseline first.
        told: for all of them; what of the input a model has itself is left out for it.
        skip_missing: leave out candidates that cannot run here.
        context: how the work reports.
        called: names of models, in place of those of their files.
    """
    opened: list[Opened] = []
    fixed: list[SizeIsFixedError] = []
    changeable = [path for path in paths if not is_bundle(path)]

    def add(path: Path, image_size: int | None) -> None:
        own = not changeable or path in changeable
        model = open_model(
            path,
            # A checkpoint runs on the CPU, whatever device its bundles are for.
            device=None if is_checkpoint(path) else told.device,
            options=_options_of(path, told),
            image_size=image_size if own else None,
            inputs=told.inputs if own else NO_CHANGES,
        )
        try:
            own_name = stack.enter_context(model)
            opened.append(replace(own_name, name=called.get(path, own_name.name)))
            for note in opened[-1].notes:
                on_foreign(context)(note)
        except SizeIsFixedError as error:
            fixed.append(error)
            add(path, None)
        except MissingError as error:
            if not skip_missing or path == paths[0]:
                raise
            context.on_step(f"{path} is left out: {error.cause}")

    for path in paths:
        add(path, told.image_size)
    if fixed and len(fixed) == len(changeable or paths):
        raise fixed[0]
    return opened
