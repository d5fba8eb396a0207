"""Recomputes what a bundle says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.api.data import measured_data
from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import Bundle, load_bundle, read_manifest
from edgeresnet.device.bundle.golden import golden_fault
from edgeresnet.device.bundle.manifest import SIGNATURE
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.data.open import SOURCES, is_here
from edgeresnet.device.data.remembered import known_by
from edgeresnet.device.machine.saturation import check_products
from edgeresnet.device.measure.accuracy import Predictions, predict
from edgeresnet.device.measure.class_claims import name_faults, top1_fault
from edgeresnet.device.measure.executed import integer_counts, precision_faults
from edgeresnet.device.measure.manifest_claims import (
    input_faults,
    manifest_faults,
    network_faults,
)
from edgeresnet.device.measure.told_top1 import told_top1
from edgeresnet.device.measure.uncached import ask, cache_faults
from edgeresnet.device.targets.first_run import first_run, load
from edgeresnet.device.targets.model_files import describe_model
from edgeresnet.device.targets.precision import float_precision, is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import CheckError, EdgeResNetError, InputError, MissingError
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results.audit import Claim, ClaimsOf
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.targets.protocol import Session

NEEDS_RUN = "it needs the checkpoint; verify the run that it is from"


@dataclass(frozen=True)
class Asked:
    """How a bundle is audited.

    Attributes:
        device: where it runs; None: where its target usually does.
        options: how it runs; ``trust`` is the key of its signer.
        context: data, else what the bundle remembers; how the work reports.
        in_run: its run is audited too, which says more of some claims.
    """

    device: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    context: TaskContext = field(default_factory=TaskContext)
    in_run: bool = False


def verify_bundle(path: Path, asked: Asked, subject: str | None = None) -> list[Claim]:
    """Recompute every claim that a bundle makes.

    Args:
        path: of its folder.
        asked: where, and with what data.
        subject: what the claims are told to be of; None: the bundle's name.

    Returns:
        A line for each claim, in the order in which they were checked.

    Raises:
        InputError: it is no bundle; or the data that was given is not usable.
    """
    claims = ClaimsOf(subject or path.resolve().name)
    manifest = read_manifest(path)
    target_of(manifest.target)
    try:
        bundle = load_bundle(path, trust=asked.options.trust)
    except InputError as error:
        claims.judge("files", error.cause, "")
        return claims.claims
    claims.judge("files", None, f"{len(manifest.files)} files have the manifest's sha256")
    _signature(claims, bundle, asked)
    _network(claims, bundle)
    answers = _session_claims(claims, bundle, asked)
    if not asked.in_run:
        if answers and manifest.logits:
            _data_claims(claims, bundle, asked)
        claims.unchecked("proof", NEEDS_RUN)
        if manifest.saturation is not None:
            claims.unchecked("saturation", NEEDS_RUN)
    return claims.claims


def _signature(claims: ClaimsOf, bundle: Bundle, asked: Asked) -> None:
    if asked.options.trust is not None:
        claims.judge(
            "signature", None, f"it is that of the owner of {Path(asked.options.trust).name}"
        )
    elif (bundle.path / SIGNATURE).exists():
        claims.unchecked("signature", "no public key was given (--trust KEY)")


def _network(claims: ClaimsOf, bundle: Bundle) -> None:
    """The manifest by itself, and against the model file."""
    manifest = bundle.manifest
    try:
        _, golden = bundle.golden()
    except InputError as error:
        claims.judge("manifest", error.cause, "")
    else:
        held = f"{len(manifest.layers)} layers, their sums, bounds and counts go together"
        claims.judge("manifest", manifest_faults(manifest, golden), held)
    try:
        described = describe_model(bundle.model_path)
    except MissingError as error:
        claims.unchecked("network", error.cause)
    except InputError as error:
        claims.unchecked("network", f"its runtime does not tell: {error.cause}")
    else:
        if not described["layers"]:
            claims.unchecked("network", "its runtime does not tell the layers of the model file")
            return
        held = (
            f"{manifest.macs / 1e6:.4g} M multiply-accumulates, {manifest.parameters:,} parameters"
        )
        claims.judge("network", network_faults(manifest, described), held)


def _session_claims(claims: ClaimsOf, bundle: Bundle, asked: Asked) -> bool:
    """What a loaded model answers and executes.

    Returns:
        Whether it runs here and gives the golden logits.
    """
    manifest = bundle.manifest
    device = asked.device or target_of(manifest.target).spec.default_device
    names = ("input", "golden logits", "integer kernels", "not cached")
    try:
        with _loaded(bundle, device, asked) as (session, outputs):
            where = f"on {device}" + (", emulated" if session.emulated else "")
            held = f"{manifest.input_spec.image_size} px, {outputs} outputs"
            if not claims.judge("input", input_faults(manifest, session, outputs), held):
                return False
            return _answers(claims, bundle, session, device, where)
    except MissingError as error:
        for name in names:
            claims.unchecked(name, error.cause)
    except (InputError, CheckError) as error:
        claims.judge("input", error.cause, "")
    return False


@contextmanager
def _loaded(bundle: Bundle, device: str, asked: Asked) -> Iterator[tuple[Session, int]]:
    """A bundle's session without its golden check, and how many outputs it has."""
    manifest = bundle.manifest
    try:
        check_products(f"bundle {bundle.path}", safe=manifest.safe, device=device)
    except InputError as error:
        raise MissingError(error.cause, error.fix) from error
    options = replace(
        asked.options,
        precision=float_precision(manifest.precision),
        image_size=manifest.input_spec.image_size,
        engine_dir=bundle.engine_dir,
        outputs=manifest.output_names,
    )
    session, model_bytes = load(target_of(manifest.target), bundle.model_path, device, options)
    with session:
        pixels = session.input_dtype == "uint8"
        answered, _ = first_run(
            bundle.path, session, options, pixels=pixels, model_bytes=model_bytes
        )
        yield session, answered.shape[1]


def _answers(claims: ClaimsOf, bundle: Bundle, session: Session, device: str, where: str) -> bool:
    manifest = bundle.manifest
    try:
        fault, difference = golden_fault(bundle, session, device)
    except InputError as error:
        fault, difference = error.cause, 0.0
    images, golden = bundle.golden()
    bound = bundle.rounding_bound()
    held = f"{len(golden)} images {where}, {difference:.2g} of their range away"
    right = claims.judge("golden logits", fault, held)
    _kernels(claims, manifest, session, where)
    asked = ask(session, images, manifest.input_spec, pixels=manifest.embed_preprocess)
    count = asked.neighbours.shape[0] * len(images)
    claims.judge(
        "not cached",
        cache_faults(asked, bound),
        f"{count} slightly changed images and {2 * len(images)} permuted ones are answered anew",
    )
    return right


def _kernels(claims: ClaimsOf, manifest: Manifest, session: Session, where: str) -> None:
    kernels, layers = session.kernels(), manifest.layers
    faults = precision_faults(layers, kernels, manifest.precision, adopted=manifest.adopted)
    told = manifest.proof.get("integer_kernels")
    if isinstance(told, dict) and not faults:
        counts = integer_counts(layers, kernels)
        faults += [
            f"{counts.get(op, 0)} {op} run in integers, and the proof has {number}"
            for op, number in told.items()
            if not isinstance(number, int) or counts.get(op, 0) < number
        ]
    integers = sum(is_quantized(str(one.get("precision"))) for one in layers)
    held = f"{integers} of {len(layers)} layers in integers {where}, as it is told"
    claims.judge("integer kernels", faults, held)


def _data_claims(claims: ClaimsOf, bundle: Bundle, asked: Asked) -> None:
    """What labelled images say of the classes' names and of the top-1 that is told."""
    manifest, names = bundle.manifest, ("class names", "top-1")
    data, why = _data_of(manifest, asked.context)
    if data is None:
        for name in names:
            claims.unchecked(name, why)
        return
    context = replace(asked.context, data=data)
    try:
        predictions, dataset = _predictions(bundle, asked, context)
    except EdgeResNetError as error:
        if asked.context.data is not None:
            raise
        claims.judge("class names", error.cause, "")
        return
    if not predictions.labelled:
        for name in names:
            claims.unchecked(name, f"data {data} has no labels")
        return
    if manifest.classes_known:
        held = f"no two fit {len(predictions.labels)} images of {data} better exchanged"
        claims.judge("class names", name_faults(predictions, predictions.classes), held)
    _top1(claims, manifest, predictions, dataset)


def _predictions(bundle: Bundle, asked: Asked, context: TaskContext) -> tuple[Predictions, Dataset]:
    with open_model(bundle.path, device=asked.device, options=asked.options) as opened:
        measured = measured_data([opened], context, unlabelled=True)
        dataset = measured.bindings[0].dataset
        with images_progress("answering", len(dataset), enabled=context.progress) as advance:
            found = predict(
                opened.session, dataset, opened.input_spec,
                embed_preprocess=opened.embed_preprocess, on_images=advance,
            )  # fmt: skip
    if not is_labelled(dataset):
        found = replace(found, classes=bundle.manifest.classes)
    return found, dataset


def _data_of(manifest: Manifest, context: TaskContext) -> tuple[str | None, str]:
    """The data to look at; or why there is none."""
    if context.data is not None:
        return context.data, ""
    data = manifest.data
    if data is None:
        return None, "it does not say what it was trained on (--data SPEC)"
    if data in SOURCES:
        return data, ""
    if not is_here(data):
        return None, f"data {data} is not at hand (--data SPEC)"
    if manifest.data_fingerprint is None or known_by(data) != manifest.data_fingerprint:
        return None, f"{data} here is not known to be the data that it remembers (--data SPEC)"
    return data, ""


def _top1(claims: ClaimsOf, manifest: Manifest, predictions: Predictions, dataset: Dataset) -> None:
    """The share of right answers that provenance tells, where its images are here."""
    told = told_top1(manifest)
    if told is None or manifest.logit_bound is None:
        claims.unchecked("top-1", "it tells none")
        return
    answered = told.on_its_images(predictions, dataset)
    if answered is None:
        claims.unchecked("top-1", f"it tells one of {told.images} other images")
        return
    fault = top1_fault(answered, told.value, manifest.logit_bound)
    share = answered.correct().mean()
    held = f"{share:.4f} on {told.images} images, and {told.value:.4f} is told"
    claims.judge("top-1", fault, held)
