"""An export's proof, made again of the checkpoint and the bundle that it was written as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.features import (
    FeatureCheck,
    GoldenFeatures,
    SideBySide,
    compare_features,
    features_among,
    split,
)
from edgeresnet.device.bundle.logits import LogitCheck, compare_logits
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.measure.uncached import neighbours_of
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.precision import WIDE, is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.export.logit_bound import BATCH, logit_bound, reference_logits
from edgeresnet.host.export.output_proof import feature_bounds
from edgeresnet.host.export.proof_images import NOISE, proof_images
from edgeresnet.host.export.saturation import without_saturation
from edgeresnet.host.models.level_outputs import sampled_outputs
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.progress import TaskContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.bundle import Bundle
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.host.models.checkpoint import Checkpoint
    from edgeresnet.host.models.quant_resnet import QuantResNet

# Of the bound: how far from what is told the largest difference, and the bound itself, may be on
# another processor, whose kernels and whose PyTorch round otherwise.
OF_BOUND, OF_DIFFERENCE = 0.05, 0.5


@dataclass(frozen=True)
class Held:
    """What a bundle gives, held against PyTorch.

    Attributes:
        images: how many were compared.
        logits: None of a bundle without.
        features: each output beside the logits.
    """

    images: int
    logits: LogitCheck | None
    features: tuple[FeatureCheck, ...]

    @property
    def checks(self) -> tuple[LogitCheck | FeatureCheck, ...]:
        """Of each output."""
        return (*([] if self.logits is None else [self.logits]), *self.features)

    def faults(self) -> list[str]:
        """What is wrong, a sentence for each output."""
        return [fault for check in self.checks if (fault := check.fault())]

    @property
    def largest_difference(self) -> float:
        """Of all outputs."""
        return max(check.largest_difference for check in self.checks)


@dataclass(frozen=True, eq=False)
class ProofAgain:
    """What the proof comes to now.

    Attributes:
        travelled: golden images and their neighbours, against PyTorch.
        proven: the images of the proof; None where they are not at hand.
        saturation: as the export writes it; None where it writes none.
    """

    travelled: Held
    proven: Held | None
    saturation: dict[str, Any] | None


@within_quota()
def prove_again(
    checkpoint: Checkpoint, bundle: Bundle, session: Session, data: str | None
) -> ProofAgain:
    """Hold a bundle's answers against those of the checkpoint that it was exported from.

    Args:
        checkpoint: of its run.
        bundle: of it.
        session: the bundle, opened.
        data: DATA SPEC of the proof's images; None: they are not at hand.
    """
    manifest = bundle.manifest
    model = folded(checkpoint)
    target = target_of(manifest.target)
    if target.spec.float_layers_in == WIDE:
        model.in_sixteen_bits()
    saturation = None
    if target.spec.saturates and is_quantized(manifest.precision) and manifest.saturation:
        narrowed = bool(manifest.saturation["narrowed"])
        context = TaskContext(data=data)
        saturation = without_saturation(model, checkpoint, context, saturating=narrowed)
    images, _ = bundle.golden()
    near = neighbours_of(images, 2, seed=1).reshape(-1, *images.shape[1:])
    given = Given(manifest.logit_bound or 0.0, bundle.golden_features(len(images)))
    travelled = _held(model, manifest, session, np.concatenate([images, near]), given)
    proven = None
    if data is not None:
        drawn = proof_images(checkpoint, data)
        if drawn.origin != NOISE:
            pixels = drawn.pixels[: int(manifest.proof.get("images", 0)) or None]
            proven = _held(model, manifest, session, pixels)
    return ProofAgain(travelled, proven, saturation)


@dataclass(frozen=True, eq=False)
class Given:
    """The bounds that a bundle tells, of its logits and of what it gives beside them."""

    logits: float
    features: GoldenFeatures | None


def _held(
    model: QuantResNet,
    manifest: Manifest,
    session: Session,
    pixels: NDArray[np.uint8],
    given: Given | None = None,
) -> Held:
    """All that the bundle gives for these images; within the bounds of PyTorch's own rounding."""
    spec, outputs = manifest.input_spec, manifest.outputs
    told = SideBySide(session, outputs) if outputs else session
    parts = [
        run_padded(told, part if manifest.embed_preprocess else normalize(part, spec))
        for part in (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))
    ]
    answers, rest = np.concatenate(parts), None
    if outputs:
        answers, rest = split(answers, outputs)
    logits = _logits(model, manifest, pixels, answers, given) if manifest.logits else None
    features = () if rest is None else _features(model, manifest, pixels, rest, given)
    return Held(len(pixels), logits, features)


def _logits(
    model: QuantResNet,
    manifest: Manifest,
    pixels: NDArray[np.uint8],
    answers: NDArray[np.float32],
    given: Given | None,
) -> LogitCheck:
    spec, precision = manifest.input_spec, manifest.precision
    reference = reference_logits(model, pixels, spec, precision)
    if given is None:
        bound = logit_bound(model, pixels, spec, precision, reference)
    else:
        bound = given.logits
    return compare_logits(answers, reference, bound, precision)


def _features(
    model: QuantResNet,
    manifest: Manifest,
    pixels: NDArray[np.uint8],
    values: NDArray[np.float32],
    given: Given | None,
) -> tuple[FeatureCheck, ...]:
    spec, precision = manifest.input_spec, manifest.precision
    outputs = features_among(manifest.outputs)
    reference = sampled_outputs(model, pixels, spec, precision, outputs)
    if given is None or given.features is None:
        bounds = feature_bounds(model, pixels, spec, precision, outputs, reference)
    else:
        bounds = given.features.bounds
    golden = GoldenFeatures(reference, bounds)
    return tuple(compare_features(values, golden, outputs, precision))


def proof_faults(manifest: Manifest, again: Held, *, same_machine: bool) -> list[str]:
    """Where a manifest tells another proof than the one that was made again.

    Args:
        manifest: of the bundle.
        again: on the images of the proof.
        same_machine: the record is of this processor and these versions.
    """
    told = manifest.proof
    if told.get("images") != again.images:
        images = f"{told.get('images')} images are told, and there are {again.images}"
        return [*again.faults(), images]
    faults = again.faults()
    if (logits := again.logits) is not None:
        faults += _figures(told, logits, "logit_bound", again.images, same_machine)
    outputs = told.get("outputs")
    of_each = outputs if isinstance(outputs, dict) else {}
    for check in again.features:
        own = of_each.get(check.name)
        figures = own if isinstance(own, dict) else {}
        found = _figures(figures, check, "bound", again.images, same_machine)
        faults += [f"{check.name}: {fault}" for fault in found]
    return faults


def _figures(
    told: Mapping[str, Any],
    again: LogitCheck | FeatureCheck,
    bound: str,
    images: int,
    same_machine: bool,
) -> Iterator[str]:
    """Where one output's figures are others; ``bound`` is what its bound is called."""
    pairs = {
        bound: (again.bound, OF_BOUND),
        "largest_difference": (again.largest_difference, OF_DIFFERENCE),
    }
    few = again.allowed if not same_machine else again.allowed / 10
    allowed = {
        **{key: s * again.bound / (10 if same_machine else 1) for key, (_, s) in pairs.items()},
        "share_outside": max(few, 0.1 / images),
    }
    found = {**{key: own for key, (own, _) in pairs.items()}, "share_outside": again.share_outside}
    for key, own in found.items():
        one = told.get(key)
        if not isinstance(one, (int, float)):
            yield f"{key} is not told"
        elif abs(one - own) > allowed[key]:
            yield f"{key} is {one:.4g}, and {own:.4g} here"


def saturation_faults(told: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Where a manifest tells other weights of 7 bits, or another cost, than the checkpoint has."""
    faults = [
        f"{key} is {told.get(key)!r:.60}, and {own.get(key)!r:.60} by the weights"
        for key in ("safe", "narrowed", "images")
        if told.get(key) != own.get(key)
    ]
    for key in ("agreement", "top1_change"):
        one, other = told.get(key), own.get(key)
        if (one is None) != (other is None) or (
            one is not None and other is not None and abs(one - other) > 0.02
        ):
            faults.append(f"{key} is {one}, and {other} here")
    return faults
