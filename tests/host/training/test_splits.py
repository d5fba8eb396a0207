"""Both splits of the data, and what a checkpoint takes from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.progress import TaskContext

DIGITS = TaskContext(data="digits", limit=20)


def test_open_splits_for_names_classes_when_the_checkpoint_remembers_no_data(
    checkpoint: Checkpoint,
) -> None:
    foreign = replace(checkpoint, classes=tuple(str(i) for i in range(10)), data=None)
    named, train_set, val_set = open_splits_for(foreign, DIGITS)
    assert (train_set.split, val_set.split) == ("train", "val")
    assert (len(train_set), len(val_set)) == (20, 20)
    assert named.classes == tuple("0123456789")
    assert named.data == "digits"


def test_open_splits_for_leaves_the_checkpoint_when_it_remembers_its_data(
    checkpoint: Checkpoint,
) -> None:
    known = replace(checkpoint, data="photos")
    assert open_splits_for(known, DIGITS)[0] is known


def test_open_splits_for_refuses_when_classes_differ(checkpoint: Checkpoint) -> None:
    other = replace(checkpoint, classes=("cat", "dog"))
    with pytest.raises(InputError, match="missing in the data: cat, dog; unknown to the model: 0"):
        open_splits_for(other, DIGITS)
