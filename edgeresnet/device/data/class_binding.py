"""Which class of the data is which output of a model: bound by name, never by place alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.data.class_names import (
    listed,
    made_up,
    match_names,
    natural_key,
    read_class_names,
)
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset

# ImageNet's folders are called by WordNet's identifiers, whose order is that of its classes; its
# models name the classes in words.
IMAGENET = ("tench", "toilet tissue", 1000)
WORDNET = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ClassesOf:
    """What is known of a model's classes.

    Attributes:
        title: what to call the model in a message.
        names: in the order of the outputs; None for a bare model file.
        known: whether they are names, and no numbers that stand for them.
        order: ``sorted`` or ``natural``, as the user says; only where the names are not known.
    """

    title: str
    names: tuple[str, ...] | None
    known: bool
    order: str | None = None

    @classmethod
    def of(cls, title: str, names: Sequence[str] | None, *, known: bool = True) -> ClassesOf:
        """What a model says of itself.

        Args:
            title: what to call the model in a message.
            names: that it carries.
            known: whether somebody gave them; False where numbers stand in for them.
        """
        return cls(title, None if names is None else tuple(names), known and names is not None)

    def named(self, names: tuple[str, ...], source: Path) -> ClassesOf:
        """With the names of a file.

        Raises:
            InputError: they are more or fewer than the model has classes.
        """
        if self.names is not None and len(names) != len(self.names):
            raise InputError(
                f"{self.title} has {len(self.names)} classes, and {source} names {len(names)}",
                "give the names of this model's classes, in the order of its outputs.",
            )
        return replace(self, names=names, known=True)


def with_options(
    models: Sequence[ClassesOf], order: str | None, names_path: Path | None
) -> list[ClassesOf]:
    """The models' classes with what the user says of them.

    Both options are for the models that do not know their classes' names; of a single model
    ``--classes`` goes over the names that it carries.

    Args:
        models: what they say of themselves.
        order: ``--class-order``: ``sorted`` or ``natural``.
        names_path: file of ``--classes``.

    Raises:
        InputError: an option has no effect, or the file does not fit.
    """
    if order is not None and names_path is not None:
        raise InputError(
            "--classes says the order of the classes already", "leave --class-order out."
        )
    if not models or (order is None and names_path is None):
        return list(models)
    if all(model.known for model in models) and (order is not None or len(models) > 1):
        option = "--classes" if order is None else "--class-order"
        raise InputError(
            f"{option} has no effect: {', '.join(m.title for m in models)} has class names",
            "leave it out; the data's classes are bound by their names.",
        )
    if names_path is None:
        return [m if m.known else replace(m, order=order) for m in models]
    names = read_class_names(names_path)
    single = len(models) == 1
    return [m.named(names, names_path) if single or not m.known else m for m in models]


@dataclass(frozen=True)
class Binding:
    """Data whose labels are places among a model's outputs.

    Attributes:
        dataset: the same images; ``classes`` in the model's order, spelled as the data does.
        by_name: whether names say so, and not the mere order of folders.
        lines: what the user should know of it.
    """

    dataset: Dataset
    by_name: bool
    lines: tuple[str, ...] = ()


def bind_classes(dataset: Dataset, model: ClassesOf, *, whole: bool = False) -> Binding:
    """Give the data's labels the order of the model's outputs.

    Args:
        dataset: labelled images.
        model: what is known of its classes.
        whole: every class of the model must be in the data, as training and calibration need.

    Raises:
        InputError: the classes are not the same, or nobody says which is which.
    """
    if model.known and model.names is not None:
        return _by_name(dataset, model, model.names, whole=whole)
    if model.names is not None and len(model.names) != len(dataset.classes):
        raise InputError(
            f"{model.title} has {len(model.names)} classes, but data {dataset.name} has "
            f"{len(dataset.classes)}",
            "give the --data that the model was trained for, or train it on this data first: "
            "edgeresnet train --weights CKPT --data DATA.",
        )
    return _by_order(dataset, model)


def check_same_classes(models: Sequence[ClassesOf]) -> tuple[str, ...]:
    """What is to be known of models that are held against each other on images without labels.

    Args:
        models: the baseline first.

    Raises:
        InputError: one has other classes than the baseline.
    """
    baseline = models[0]
    for model in models[1:]:
        if baseline.names is None or model.names is None:
            continue
        matched = match_names(model.names, baseline.names)
        if not len(matched) == len(model.names) == len(baseline.names):
            odd = [name for i, name in enumerate(model.names) if i not in matched]
            raise InputError(
                f"{model.title} has other classes than {baseline.title}"
                + (f": {listed(odd)}" if odd else ""),
                "compare models of the same classes.",
            )
    unnamed = [model.title for model in models if model.names is None]
    if not 0 < len(unnamed) < len(models):
        return ()
    return (f"{listed(unnamed)} has no class names: its outputs are taken in the others' order",)


def _by_name(dataset: Dataset, model: ClassesOf, names: tuple[str, ...], *, whole: bool) -> Binding:
    if tuple(dataset.classes) == names:
        return Binding(dataset, by_name=True)
    if _is_imagenet(dataset.classes, names):
        line = f"classes of data {dataset.name} by sorted WordNet identifier, as ImageNet has them"
        return Binding(_placed(dataset, sorted(dataset.classes)), by_name=True, lines=(line,))
    matched = match_names(dataset.classes, names)
    unknown = [name for i, name in enumerate(dataset.classes) if i not in matched]
    taken = set(matched.values())
    missing = [name for i, name in enumerate(names) if i not in taken]
    if unknown or (missing and whole):
        raise _other_classes(dataset, model, missing, unknown)
    own = {place: dataset.classes[i] for i, place in matched.items()}
    bound = [own.get(place, name) for place, name in enumerate(names)]
    lines = [f"classes of data {dataset.name} are bound by name, in the order of {model.title}"]
    if missing:
        lines.append(
            f"data {dataset.name} has no images of {len(missing)} of the {len(names)} classes of "
            f"{model.title}: {listed(missing)}"
        )
    places = np.array([matched[i] for i in range(len(matched))], np.int64)
    return Binding(
        dataset.relabelled(tuple(bound), places[dataset.labels]), by_name=True, lines=tuple(lines)
    )


def _other_classes(
    dataset: Dataset, model: ClassesOf, missing: Sequence[str], unknown: Sequence[str]
) -> InputError:
    parts = [
        f"{what}: {listed(names)}"
        for what, names in (
            ("missing in the data", missing),
            (f"unknown to {model.title}", unknown),
        )
        if names
    ]
    return InputError(
        f"data {dataset.name} has other classes than {model.title}; {'; '.join(parts)}",
        "name the classes of the data as the model does (edgeresnet inspect lists them), or give "
        "the data that it was trained for.",
    )


def _is_imagenet(folders: Sequence[str], names: Sequence[str]) -> bool:
    return (names[0], names[-1], len(names)) == IMAGENET and (
        len(folders) == len(names) and all(map(WORDNET.fullmatch, folders))
    )


def _by_order(dataset: Dataset, model: ClassesOf) -> Binding:
    """The data's own order, or the one that the user says, for a model without names."""
    classes = list(dataset.classes)
    by_text, by_number = sorted(classes), sorted(classes, key=natural_key)
    if model.order is not None:
        ordered = by_number if model.order == "natural" else by_text
        how = "number, then text" if model.order == "natural" else "text"
        line = f"classes of data {dataset.name} by name, sorted as {how} (--class-order)"
        return Binding(_placed(dataset, ordered), by_name=True, lines=(line,))
    if made_up(classes):
        return Binding(dataset, by_name=True)
    numbers = all(name.isascii() and name.isdecimal() for name in classes)
    if numbers and classes == by_text != by_number:
        raise InputError(
            f"{model.title} has no class names, and the folders of data {dataset.name} are numbers "
            f"whose order is not known: {', '.join(by_text[:4])} … as text, or "
            f"{', '.join(by_number[:4])} …",
            "say how the training sorted them: --class-order sorted (torchvision's ImageFolder "
            "does) or --class-order natural.",
        )
    # A standard data set has an order of its own, and a file of labels that are indices too.
    how = "by sorted folder name" if classes == by_text else f"in the order of {dataset.name}"
    line = f"{model.title} has no class names: classes {how} ({listed(classes)})"
    return Binding(dataset, by_name=False, lines=(line,))


def _placed(dataset: Dataset, ordered: Sequence[str]) -> Dataset:
    """The same images with the classes in another order."""
    if list(dataset.classes) == list(ordered):
        return dataset
    where = {name: place for place, name in enumerate(ordered)}
    places = np.array([where[name] for name in dataset.classes], np.int64)
    return dataset.relabelled(tuple(ordered), places[dataset.labels])
