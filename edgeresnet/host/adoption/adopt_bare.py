"""Somebody else's model file becomes a bundle: the same file, and what it does not say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgeresnet.device.bundle.bundle import Bundle
from edgeresnet.device.bundle.manifest import UNKNOWN, Manifest
from edgeresnet.device.bundle.write_bundle import check_replaceable, write_bundle
from edgeresnet.device.data.dataset import batches
from edgeresnet.device.data.remembered import known_by
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.model_files import describe_model, reader_of
from edgeresnet.device.targets.registry import example_of
from edgeresnet.errors import InputError
from edgeresnet.host.adoption.adopt import Adopted, find, for_provenance
from edgeresnet.host.adoption.adoptee import BareAdoptee
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import AdoptResults
from edgeresnet.settings.adoption import AdoptOptions
from edgeresnet.settings.export import BatchRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_IMAGES = 16
# How far a runtime's rounding may take a logit on another machine, as a share of their range.
TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}
TOLERANCE_OF_INTEGERS = 5e-2


def adopt_bare(
    adoptee: BareAdoptee, path: Path, out_dir: Path, options: AdoptOptions, *, context: TaskContext
) -> tuple[Bundle, AdoptResults]:
    """Write a bundle around a model file, and give the figures.

    Args:
        adoptee: the open file.
        path: of it.
        out_dir: the bundle's folder.
        options: all settings.
        context: labelled images as its data; how the work reports.

    Raises:
        InputError: data and model do not fit, or the model answers as no bundle does.
        CheckError: under no setting the model is clearly above chance.
    """
    check_replaceable(out_dir)
    if adoptee.opened.session.classes == 1:
        raise InputError(
            f"{adoptee.title} has one output, and a bundle's model has one for each class",
            "export it with two, the logits 0 and z.",
        )
    found = find(adoptee, options, context=context)
    images = next(iter(batches(found.dataset, found.input_spec, GOLDEN_IMAGES, raw=True)))[0]
    pixels = cast("NDArray[np.uint8]", images)
    logits = adoptee.network(found.candidate)(pixels, found.input_spec)
    spread = float(np.ptp(logits)) or 1.0
    manifest = _manifest(adoptee, path, found, context, spread)
    beside = reader_of(path)[1].beside(path)
    files = {name: path.with_name(name) for name in (path.name, *beside)}
    example = example_of(manifest.target)
    if example is not None and _as_exported(adoptee):
        files[example.name] = example
    bundle = write_bundle(out_dir, manifest, files, pixels, logits, record_host=options.record_host)
    return bundle, found.results


def _as_exported(adoptee: BareAdoptee) -> bool:
    """Whether the model takes images and answers as an exported one, which the example expects."""
    opened = adoptee.opened
    pixels, last = opened.embed_preprocess, channels_last(opened.session.input_shape)
    kind = "uint8" if pixels else "float32"
    return pixels == last and opened.session.input_dtype == kind and opened.answers == "logits"


def _manifest(
    adoptee: BareAdoptee, path: Path, found: Adopted, context: TaskContext, spread: float
) -> Manifest:
    opened = adoptee.opened
    facts = describe_model(path, found.input_spec.image_size)
    smallest, largest = opened.session.batch_sizes
    tolerance = TOLERANCES.get(opened.precision, TOLERANCE_OF_INTEGERS)
    data = context.data or ""
    return Manifest(
        target=opened.target,
        precision=opened.precision,
        arch=UNKNOWN,
        stem=UNKNOWN,
        classes=found.classes,
        input_spec=found.input_spec,
        embed_preprocess=opened.embed_preprocess,
        batch=BatchRange(smallest, smallest, largest),
        model=path.name,
        parameters=facts["parameters"] or 0,
        macs=facts["macs"] or 0,
        golden_tolerance=tolerance,
        data=data,
        data_fingerprint=known_by(data),
        proof={"logits": "none: the file was adopted as it is"},
        provenance={
            "adopted_with": versions(),
            "source": str(path),
            "adopted": for_provenance(found.results),
        },
        widths={},
        layers=tuple(facts["layers"]),
        logit_bound=tolerance * spread,
        channels_last=channels_last(opened.session.input_shape),
        answers="probabilities" if opened.answers == "probabilities" else "logits",
    )
