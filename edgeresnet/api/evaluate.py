"""Accuracy of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.api.data import measured_data

if TYPE_CHECKING:
    from edgeresnet.settings.measuring import RunOptions


def evaluate_model(
    model: Path,
    data: str | None,
    device: str | None,
    limit: int | None,
    options: RunOptions,
    image_size: int | None,
    *,
    skip_broken: bool,
    quiet: bool,
) -> dict[str, Any]:
    from edgeresnet.api.opening import open_model
    from edgeresnet.device.measure.accuracy import accuracy, predict
    from edgeresnet.progress import images_progress

    with open_model(model, device=device, options=options, image_size=image_size) as opened:
        dataset = measured_data(data, [opened], limit, skip_broken=skip_broken)
        with images_progress("evaluating", len(dataset), enabled=not quiet) as advance:
            predictions = predict(
                opened.session, dataset, opened.input_spec,
                embed_preprocess=opened.embed_preprocess, on_images=advance,
            )  # fmt: skip
        figures = accuracy(predictions)
        placement = opened.placement(allow_fallback=options.allow_fallback)
    return {
        "schema": 1,
        "target": opened.target,
        "device": opened.device,
        "precision": opened.precision,
        **figures.to_dict(),
        "per_class": dict(zip(dataset.classes, figures.per_class, strict=True)),
        "data": dataset.name,
        "skipped": list(dataset.skipped),
        "preprocess_ms": predictions.preprocess_ms,
        "run_ms": None if opened.emulated else predictions.run_ms,
        "emulated": opened.emulated,
        "placement": placement,
    }
