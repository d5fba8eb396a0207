"""What nobody wrote down of a network is found out from labelled images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeresnet.device.data.class_binding import ClassesOf, bind_classes, with_options
from edgeresnet.device.data.dataset import Dataset, drawn_by_name
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.remembered import names_fingerprint
from edgeresnet.device.measure.accuracy import chance_line
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.adoption.adoptee import Adoptee
from edgeresnet.host.adoption.comparison import Comparison, compare, compare_orders, compare_shapes
from edgeresnet.host.adoption.evidence import Evidence
from edgeresnet.host.adoption.orders import enough, known_orders
from edgeresnet.host.adoption.search import Search
from edgeresnet.host.adoption.space import FIELDS, Candidate
from edgeresnet.host.adoption.trials import Trials
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import AdoptResults
from edgeresnet.settings.adoption import AdoptOptions
from edgeresnet.settings.inputs import InputSpec

BY_NAME = "by name"
# Enough to tell a point of top-1 apart, and few enough for a CPU.
USUAL_IMAGES = 2000


@dataclass(frozen=True)
class Adopted:
    """What was found.

    Attributes:
        candidate: how the network was trained.
        input_spec: the same, of its input.
        classes: names in the order of the outputs.
        dataset: the images, in the order in which they were drawn.
        results: all figures.
    """

    candidate: Candidate
    input_spec: InputSpec
    classes: tuple[str, ...]
    dataset: Dataset
    results: AdoptResults


def find(adoptee: Adoptee, options: AdoptOptions, *, context: TaskContext) -> Adopted:
    """Find the settings under which a network's answers fit the labels of images.

    Args:
        adoptee: somebody else's network.
        options: all settings.
        context: its data; how the work reports.

    Raises:
        InputError: data and network do not fit.
        CheckError: under no setting the network is clearly above chance.
    """
    started = time.monotonic()
    dataset, by_name = _images(adoptee, options, context)
    classes = dataset.classes
    trials = Trials(dataset, adoptee)
    orders = {BY_NAME: np.arange(len(classes))} if by_name else known_orders(classes)
    from_images = not by_name and enough(trials.labels, len(classes))
    evidence, space = Evidence(trials, orders, from_images=from_images), adoptee.space
    search = Search(evidence, space, context.on_step)
    best = search.best()
    _check_chance(evidence, best)
    taken = search.settle(best)
    rows = [row for name in FIELDS for row in compare(evidence, space, name, taken)]
    rows += compare_shapes(evidence, search.rivals(taken), taken)
    rows += compare_orders(evidence, taken)
    outputs = evidence.outputs(taken, evidence.order)
    named = tuple(classes[i] for i in np.argsort(outputs))
    spec = space.spec(taken)
    results = _results(evidence, taken, rows, spec, named, time.monotonic() - started)
    # By these an audit finds the images again.
    results["seed"] = options.seed
    results["images_fingerprint"] = names_fingerprint(dataset)
    return Adopted(taken, spec, named, dataset, results)


def _images(adoptee: Adoptee, options: AdoptOptions, context: TaskContext) -> tuple[Dataset, bool]:
    """Labelled images in a random order, and whether names say which class is which output."""
    assert context.data is not None
    dataset = open_dataset(context.data, "val", skip_broken=context.skip_broken)
    for note in dataset.notes:
        context.on_step(note)
    dataset = drawn_by_name(dataset, context.limit or USUAL_IMAGES, options.seed)
    own = ClassesOf.of(adoptee.title, adoptee.classes)
    (model,) = with_options([own], context.class_order, context.classes_path)
    by_name = model.known or model.order is not None
    if by_name:
        binding = bind_classes(dataset, model)
        for line in binding.lines:
            context.on_step(line)
        dataset = binding.dataset
    if len(dataset.classes) != adoptee.outputs:
        raise InputError(
            f"data {dataset.name} has {len(dataset.classes)} classes, and {adoptee.title} has "
            f"{adoptee.outputs} outputs",
            "give the classes that it was trained for; for some of them, name all in the order of "
            "the outputs: --classes names.txt.",
        )
    order = np.random.default_rng(options.seed).permutation(len(dataset))
    return dataset.subset([int(i) for i in order]), by_name


def _check_chance(evidence: Evidence, best: Candidate) -> None:
    trials, labels = evidence.trials, evidence.trials.labels
    right = evidence.right(best, len(trials))
    classes = trials.logits(best, 1).shape[1]
    # Which wrong answer was given plays no part here.
    answers = np.where(right, labels, (labels + 1) % classes)
    if chance_line(answers, labels, classes, by_name=True) is not None:
        raise CheckError(
            f"none of the {trials.candidates} ways of training that were tried is clearly above "
            f"chance: top-1 {right.mean():.4f} on {len(labels)} images at best",
            "look whether these are its classes, and images of the kind that it was trained on; "
            "give more images, or say what you know (--mean, --std, --image-size, --classes).",
        )


def _results(
    evidence: Evidence,
    taken: Candidate,
    rows: list[Comparison],
    spec: InputSpec,
    classes: tuple[str, ...],
    seconds: float,
) -> AdoptResults:
    trials = evidence.trials
    right = evidence.right(taken, len(trials))
    undecided = [row for row in rows if not row.taken and not row.separated]
    return {
        "n": len(right),
        "top1": float(right.mean()),
        "top1_interval": list(wilson(int(right.sum()), len(right))),
        "settings": {**{name: getattr(taken, name) for name in FIELDS}, "classes": evidence.order},
        "input_spec": spec.to_dict(),
        "classes": list(classes),
        "not_distinguished": [_row(row) for row in undecided],
        "rows": [_row(row) for row in rows],
        "candidates": trials.candidates,
        "images_run": trials.images_run,
        "seconds": seconds,
    }


def _row(row: Comparison) -> dict[str, Any]:
    return {
        "setting": row.field,
        "option": row.option,
        "n": row.n,
        "top1": row.top1,
        "difference": row.difference.to_dict(),
        "differing": row.differing,
        "decision": "taken" if row.taken else "worse" if row.separated else "not distinguished",
    }


def for_provenance(results: AdoptResults) -> dict[str, Any]:
    """What a checkpoint or bundle keeps of it."""
    left_out = ("rows", "input_spec", "classes")
    return {key: value for key, value in results.items() if key not in left_out}
