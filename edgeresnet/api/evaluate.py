"""How often a model is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from edgeresnet.api.data import measured_data, on_foreign, say_doubts, say_shared
from edgeresnet.api.opening import open_model
from edgeresnet.device.data.class_binding import Binding
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.measure.accuracy import Predictions, accuracy
from edgeresnet.device.measure.confusion import in_classes
from edgeresnet.device.measure.neighbours import by_embeddings, predict_model
from edgeresnet.device.session import Opened
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results.evaluated import EvaluateResults
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.measuring import RunOptions


def evaluate(
    model: str | Path,
    *,
    device: str | None = None,
    options: RunOptions | None = None,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    context: TaskContext | None = None,
) -> EvaluateResults:
    """Measure top-1 and top-5 of a model on validation images, for each class too.

    Args:
        model: bundle, ``.onnx``, ``.xml``, ``.engine`` or checkpoint.
        device: where it runs; None: where its target usually does.
        options: how it runs.
        image_size: of a checkpoint, or of a bare file that leaves it open.
        inputs: what is told of the preprocessing of a checkpoint or a bare file.
        context: data (else what the model remembers) and how the work reports.

    Raises:
        InputError: the model cannot take the data, or its classes are not the data's.
        MissingError: runtime or device are not here.
        CheckError: the CPU runs a part that was meant for another device.
    """
    options, context = options or RunOptions(), context or TaskContext()
    with open_model(
        model, device=device, options=options, image_size=image_size, inputs=inputs
    ) as opened:
        (opened,) = by_embeddings([opened])
        for note in opened.notes:
            on_foreign(context)(note)
        (binding,) = measured_data([opened], context).bindings
        dataset = binding.dataset
        doubts = say_shared([opened], dataset, context)
        predictions = _predict(opened, binding, context)
        doubts += say_doubts(predictions, binding, context.on_step)
        placement = opened.placement(allow_fallback=options.allow_fallback)
    result: dict[str, Any] = {
        "schema": 1,
        "target": opened.target,
        "device": opened.device,
        "precision": opened.precision,
        "answers": opened.answers,
        **_figures(predictions, dataset.classes, opened),
        "data": dataset.name,
        "skipped": list(dataset.skipped),
        "conversions": say_conversions([dataset], context.on_step),
        "doubts": doubts,
        "preprocess_ms": predictions.preprocess_ms,
        "run_ms": None if opened.emulated else predictions.run_ms,
        "emulated": opened.emulated,
        "placement": placement,
    }
    return cast(EvaluateResults, result)


def _figures(predictions: Predictions, classes: Sequence[str], opened: Opened) -> dict[str, Any]:
    """How often the model is right: over all, in each class, and what it takes for what."""
    figures = accuracy(predictions)
    return {
        **figures.to_dict(),
        **in_classes(predictions, classes, opened.answers),
        "per_class": dict(zip(classes, figures.per_class, strict=True)),
    }


def _predict(opened: Opened, binding: Binding, context: TaskContext) -> Predictions:
    """What the model answers."""
    dataset = binding.dataset
    with images_progress("evaluating", len(dataset), enabled=context.progress) as advance:
        return predict_model(opened, dataset, advance)
