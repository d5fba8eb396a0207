"""The images that a task looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeresnet.device.data.class_binding import (
    Binding,
    ClassesOf,
    bind_classes,
    check_same_classes,
    with_options,
)
from edgeresnet.device.data.class_names import retold
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.data.open import SOURCES, open_dataset
from edgeresnet.device.data.remembered import check_remembered, known_by
from edgeresnet.device.data.shared_images import shared_line
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.doubts import answer_doubts
from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.progress import OnStep, TaskContext

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened
    from edgeresnet.host.models.checkpoint import Checkpoint


def with_data(context: TaskContext, checkpoint: Checkpoint, source: str) -> TaskContext:
    """The context with the data that is given, else with what the checkpoint remembers.

    Raises:
        InputError: neither says, or another folder is where it remembers its data.
    """
    data = context.data or checkpoint.data
    if data is None:
        raise InputError(
            f"{source} does not say what it was trained on", "give --data, e.g. --data photos."
        )
    if context.data is None:
        check_remembered(data, checkpoint.data_fingerprint, source)
    return replace(context, data=data)


def on_foreign(context: TaskContext) -> OnStep:
    """What is told the lines on a foreign checkpoint: with what the user says of its classes."""
    return lambda line: context.on_step(retold(line, context.class_order, context.classes_path))


@dataclass(frozen=True)
class MeasuredData:
    """Validation images, and how each model's outputs are bound to their classes.

    Attributes:
        dataset: as the data has it.
        bindings: for each model the same images with labels in the order of its outputs.
    """

    dataset: Dataset
    bindings: tuple[Binding, ...]


def measured_data(
    models: Sequence[Opened], context: TaskContext, *, unlabelled: bool = False
) -> MeasuredData:
    """The validation images, with labels in the order of each model's outputs.

    Args:
        models: the baseline first.
        context: the data, how it is read, and what the user says of the classes.
        unlabelled: images without labels will do: the models are held against each other.

    Raises:
        InputError: nobody says which data; or a model cannot take it, or has other classes.
    """
    spec = context.data or _remembered(models)
    dataset = open_dataset(
        spec,
        "val",
        limit=context.limit,
        skip_broken=context.skip_broken,
        unlabelled=unlabelled,
    )
    for note in dataset.notes:
        context.on_step(note)
    if dataset.skipped:
        context.on_step(f"left out {len(dataset.skipped)} unreadable images")
    told = [ClassesOf.of(m.name, m.classes) for m in models]
    if is_labelled(dataset):
        told = with_options(told, context.class_order, context.classes_path)
        bindings = tuple(bind_classes(dataset, classes) for classes in told)
    else:
        bindings = _unbound(dataset, models, told, context)
    for line in dict.fromkeys(line for binding in bindings for line in binding.lines):
        context.on_step(line)
    for model, binding in zip(models, bindings, strict=True):
        model.check_data(binding.dataset)
        if model.answers == "probabilities":
            context.on_step(
                f"{model.name} gives probabilities and no logits: those that round to the same "
                "number count as wrong, in top-5 above all"
            )
    return MeasuredData(dataset, bindings)


def say_doubts(
    predictions: Predictions, binding: Binding, on_step: OnStep, model: str | None = None
) -> list[str]:
    """Tells what there is to say against a model's answers, of several with its name.

    Returns:
        The lines.
    """
    doubts = answer_doubts(
        predictions.logits,
        predictions.labels if predictions.labelled else None,
        predictions.classes,
        by_name=binding.by_name,
    )
    lines = [doubt if model is None else f"{model}: {doubt}" for doubt in doubts]
    for line in lines:
        on_step(line)
    return lines


def say_shared(models: Sequence[Opened], dataset: Dataset, context: TaskContext) -> list[str]:
    """Tells how many images are measured on that a model was trained on, where these are at hand.

    Returns:
        The lines; none where nobody knows.
    """
    lines = []
    specs = dict.fromkeys(spec for model in models if (spec := _learned_from(model, context)))
    for spec in specs:
        try:
            learned = open_dataset(spec, "train", unlabelled=True)
            line = shared_line(dataset, learned, "training")
        except EdgeResNetError:
            # What a model learned from need not be here whole: on a device hardly ever.
            continue
        if line is not None:
            context.on_step(line)
            lines.append(line)
    return lines


def _learned_from(model: Opened, context: TaskContext) -> str | None:
    """Where the data lies that a model remembers, known again by its images; None: not here."""
    for spec in (context.data, model.data):
        if spec is None or spec in SOURCES or model.data_fingerprint is None:
            continue
        try:
            if known_by(spec) == model.data_fingerprint:
                return spec
        except EdgeResNetError:
            continue
    return None


def _unbound(
    dataset: Dataset, models: Sequence[Opened], told: Sequence[ClassesOf], context: TaskContext
) -> tuple[Binding, ...]:
    """Images without labels, which are nobody's classes; the models' must be the same."""
    options = {"--class-order": context.class_order, "--classes": context.classes_path}
    for option, value in options.items():
        if value is not None:
            raise InputError(
                f"{option} has no effect: data {dataset.name} has no labels", "leave it out."
            )
    if not models:
        return ()
    lines = check_same_classes(told)
    outputs = [model.outputs or model.session.classes for model in models]
    for model, count in zip(models, outputs, strict=True):
        if None not in (count, outputs[0]) and count != outputs[0]:
            raise InputError(
                f"{model.name} has {count} outputs, and {models[0].name} has {outputs[0]}",
                "compare models of the same classes.",
            )
    return tuple(Binding(dataset, by_name=False, lines=lines) for _ in models)


def _remembered(models: Sequence[Opened]) -> str:
    """What the first of the models that remembers any data was trained on."""
    for model in models:
        if model.data:
            check_remembered(model.data, model.data_fingerprint, model.name)
            return model.data
    raise InputError(
        f"{models[0].name} does not say what it was trained on", "give --data, e.g. a folder."
    )
