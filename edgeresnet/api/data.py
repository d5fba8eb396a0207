"""The images that a command looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.cli.output import say
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened


def known_data(given: str | None, remembered: str | None, checkpoint: str) -> str:
    """The DATA SPEC that is given, else the one that the checkpoint remembers."""
    data = given or remembered
    if data is None:
        raise InputError(
            f"{checkpoint} does not say what it was trained on", "give --data, e.g. --data photos."
        )
    return data


def measured_data(
    data: str | None, models: list[Opened], limit: int | None, *, skip_broken: bool
) -> Dataset:
    """The validation images, of classes that fit every model."""
    from edgeresnet.device.data.open import open_dataset

    spec = data or next((m.data for m in models if m.data), None)
    if spec is None:
        raise InputError(
            f"{models[0].name} does not say what it was trained on", "give --data, e.g. a folder."
        )
    dataset = open_dataset(spec, "val", limit=limit, skip_broken=skip_broken)
    if dataset.skipped:
        say(f"left out {len(dataset.skipped)} unreadable images")
    for model in models:
        model.check_data(dataset)
    return dataset
