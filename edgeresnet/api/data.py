"""The images that a task looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened
    from edgeresnet.host.models.checkpoint import Checkpoint


def with_data(context: TaskContext, checkpoint: Checkpoint, source: str) -> TaskContext:
    """The context with the data that is given, else with what the checkpoint remembers.

    Raises:
        InputError: neither says.
    """
    data = context.data or checkpoint.data
    if data is None:
        raise InputError(
            f"{source} does not say what it was trained on", "give --data, e.g. --data photos."
        )
    return replace(context, data=data)


def measured_data(models: Sequence[Opened], context: TaskContext) -> Dataset:
    """The validation images, of classes that fit every model.

    Raises:
        InputError: nobody says which data; or a model cannot take it.
    """
    spec = context.data or next((m.data for m in models if m.data), None)
    if spec is None:
        raise InputError(
            f"{models[0].name} does not say what it was trained on", "give --data, e.g. a folder."
        )
    dataset = open_dataset(spec, "val", limit=context.limit, skip_broken=context.skip_broken)
    if dataset.skipped:
        context.on_step(f"left out {len(dataset.skipped)} unreadable images")
    for model in models:
        model.check_data(dataset)
    return dataset
