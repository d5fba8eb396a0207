"""The training and the validation split of a DATA SPEC, opened together."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.device.data.dataset import Dataset, check_classes
from edgeresnet.device.data.open import open_dataset
from edgeresnet.host.models.checkpoint import Checkpoint


def open_splits(data: str, *, limit: int | None, skip_broken: bool) -> tuple[Dataset, Dataset]:
    """The training and the validation split.

    The split has its own fixed seed: with the training's, evaluation would meet training images.

    Args:
        data: DATA SPEC.
        limit: images of each split.
        skip_broken: leave unreadable images out.

    Raises:
        InputError: the data is not there or not usable.
        MissingError: a package that reads it is not installed.
    """
    train_set = open_dataset(data, "train", limit=limit, skip_broken=skip_broken)
    return train_set, open_dataset(data, "val", limit=limit, skip_broken=skip_broken)


def open_splits_for(
    checkpoint: Checkpoint, data: str, *, limit: int | None, skip_broken: bool
) -> tuple[Checkpoint, Dataset, Dataset]:
    """Both splits, of the checkpoint's classes, and the checkpoint.

    One that remembers no data (a foreign one) takes its class names from this data, and remembers
    it.

    Raises:
        InputError: the data is not usable, or its classes are not the checkpoint's.
        MissingError: a package that reads it is not installed.
    """
    train_set, val_set = open_splits(data, limit=limit, skip_broken=skip_broken)
    check_classes(train_set, checkpoint.classes)
    if checkpoint.data is None:
        checkpoint = replace(checkpoint, classes=tuple(train_set.classes), data=data)
    return checkpoint, train_set, val_set
