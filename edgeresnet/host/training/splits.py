"""The training and the validation split of a DATA SPEC, opened together."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.device.data.class_binding import ClassesOf, bind_classes, with_options
from edgeresnet.device.data.class_names import retold, without_labels
from edgeresnet.device.data.dataset import Dataset, Split, is_labelled
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.remembered import known_by, placed
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.progress import TaskContext

SPLITS: tuple[Split, Split] = ("train", "val")


def open_splits(context: TaskContext, *, unlabelled: bool = False) -> tuple[Dataset, Dataset]:
    """The training and the validation split.

    The split has its own fixed seed: with the training's, evaluation would meet training images.

    Args:
        context: its DATA SPEC, limit of each split, and whether unreadable images are left out.
        unlabelled: images without labels will do.

    Raises:
        InputError: there is no DATA SPEC, or the data is not there or not usable.
        MissingError: a package that reads it is not installed.
    """
    if context.data is None:
        raise InputError("nobody says which data", "give --data, e.g. --data photos.")
    train_set, val_set = (
        open_dataset(
            context.data,
            split,
            limit=context.limit,
            skip_broken=context.skip_broken,
            unlabelled=unlabelled,
        )
        for split in SPLITS
    )
    for note in dict.fromkeys((*train_set.notes, *val_set.notes)):
        context.on_step(note)
    return train_set, val_set


def open_splits_for(
    checkpoint: Checkpoint, context: TaskContext, *, unlabelled: bool = False
) -> tuple[Checkpoint, Dataset, Dataset]:
    """Both splits of the context's data, else of the checkpoint's own, and the checkpoint.

    The labels are in the order of the checkpoint's classes, each of which must be in the data: a
    class without images would be forgotten in training, and missed in calibration. One that has
    no class names takes them from this data; one that remembers no data (a foreign one) spells
    them as this does, and remembers it. Images without labels leave the classes as they are.

    Args:
        checkpoint: of any origin.
        context: the data, how it is read, and what the user says of the classes.
        unlabelled: images without labels will do.

    Raises:
        InputError: the data is not usable, or its classes are not the checkpoint's.
        MissingError: a package that reads it is not installed.
    """
    context = replace(context, data=context.data or checkpoint.data)
    train_set, val_set = open_splits(context, unlabelled=unlabelled)
    if not checkpoint.classes:
        check_no_names(context)
    elif is_labelled(train_set):
        checkpoint, train_set, val_set = _bound(checkpoint, train_set, val_set, context)
    else:
        checkpoint = _without_labels(checkpoint, train_set, context)
    if checkpoint.data is None:
        data, fingerprint = placed(context.data), known_by(context.data)
        checkpoint = replace(checkpoint, data=data, data_fingerprint=fingerprint)
    return _retold(checkpoint, context), train_set, val_set


def check_no_names(context: TaskContext) -> None:
    """Refuse to be told the classes of a network that has none.

    Raises:
        InputError: an option tells them.
    """
    options = {"--class-order": context.class_order, "--classes": context.classes_path}
    for option, value in options.items():
        if value is not None:
            raise InputError(
                f"{option} has no effect: the checkpoint has no classifier", "leave it out."
            )


def _without_labels(checkpoint: Checkpoint, images: Dataset, context: TaskContext) -> Checkpoint:
    """The checkpoint with the names of ``--classes``: the images have none."""
    if context.class_order is not None:
        raise InputError(
            f"--class-order has no effect: data {images.name} has no class folders",
            "leave it out, or give --classes, a file of the names.",
        )
    named = with_class_names(checkpoint, context)
    if context.classes_path is not None or not (said := named.provenance.get("assumed")):
        return named
    return replace(named, provenance={**named.provenance, "assumed": without_labels(said)})


def _bound(
    checkpoint: Checkpoint, train_set: Dataset, val_set: Dataset, context: TaskContext
) -> tuple[Checkpoint, Dataset, Dataset]:
    """Labels in the order of the checkpoint's classes, and the checkpoint with their names."""
    own = ClassesOf.of("the model", checkpoint.classes, known=checkpoint.classes_known)
    (model,) = with_options([own], context.class_order, context.classes_path)
    bound, val_bound = (bind_classes(one, model, whole=True) for one in (train_set, val_set))
    for line in bound.lines:
        context.on_step(line)
    if not checkpoint.classes_known or context.classes_path is not None or checkpoint.data is None:
        classes = tuple(bound.dataset.classes)
        checkpoint = replace(checkpoint, classes=classes, classes_known=True)
    return checkpoint, bound.dataset, val_bound.dataset


def _retold(checkpoint: Checkpoint, context: TaskContext) -> Checkpoint:
    """The checkpoint with what is told of its classes in the line on what was assumed."""
    if not (assumed := checkpoint.provenance.get("assumed")):
        return checkpoint
    said = retold(assumed, context.class_order, context.classes_path)
    return replace(checkpoint, provenance={**checkpoint.provenance, "assumed": said})


def with_class_names(checkpoint: Checkpoint, context: TaskContext) -> Checkpoint:
    """The checkpoint with the class names that ``--classes`` or ``--class-order`` gives it.

    Args:
        checkpoint: of any origin.
        context: the options; and, for an order, the data whose class folders have it.

    Raises:
        InputError: an option has no effect, the file does not fit, or there is no data.
    """
    if not checkpoint.classes:
        check_no_names(context)
    if context.classes_path is not None:
        own = ClassesOf.of("the model", checkpoint.classes, known=checkpoint.classes_known)
        (named,) = with_options([own], context.class_order, context.classes_path)
        classes = named.names or checkpoint.classes
        return _retold(replace(checkpoint, classes=classes, classes_known=True), context)
    if context.class_order is not None:
        return open_splits_for(checkpoint, context, unlabelled=True)[0]
    return checkpoint
