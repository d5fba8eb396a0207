"""The training and the validation split of a DATA SPEC, opened together."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.device.data.dataset import Dataset, Split, check_classes
from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.progress import TaskContext

SPLITS: tuple[Split, Split] = ("train", "val")


def open_splits(context: TaskContext) -> tuple[Dataset, Dataset]:
    """The training and the validation split.

    The split has its own fixed seed: with the training's, evaluation would meet training images.

    Args:
        context: its DATA SPEC, limit of each split, and whether unreadable images are left out.

    Raises:
        InputError: there is no DATA SPEC, or the data is not there or not usable.
        MissingError: a package that reads it is not installed.
    """
    if context.data is None:
        raise InputError("nobody says which data", "give --data, e.g. --data photos.")
    train_set, val_set = (
        open_dataset(context.data, split, limit=context.limit, skip_broken=context.skip_broken)
        for split in SPLITS
    )
    return train_set, val_set


def open_splits_for(
    checkpoint: Checkpoint, context: TaskContext
) -> tuple[Checkpoint, Dataset, Dataset]:
    """Both splits of the context's data, else of the checkpoint's own, and the checkpoint.

    One that remembers no data (a foreign one) takes its class names from this data, and remembers
    it.

    Raises:
        InputError: the data is not usable, or its classes are not the checkpoint's.
        MissingError: a package that reads it is not installed.
    """
    context = replace(context, data=context.data or checkpoint.data)
    train_set, val_set = open_splits(context)
    check_classes(train_set, checkpoint.classes)
    if checkpoint.data is None:
        checkpoint = replace(checkpoint, classes=tuple(train_set.classes), data=context.data)
    return checkpoint, train_set, val_set
