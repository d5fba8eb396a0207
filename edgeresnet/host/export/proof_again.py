"""An export's proof, made again of the checkpoint and the bundle that it was written as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.logits import LogitCheck, compare_logits
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.measure.uncached import neighbours_of
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.precision import WIDE, is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.export.logit_bound import BATCH, logit_bound, reference_logits
from edgeresnet.host.export.proof_images import NOISE, proof_images
from edgeresnet.host.export.saturation import without_saturation
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


@dataclass(frozen=True, eq=False)
class ProofAgain:
    """What the proof comes to now.

    Attributes:
        travelled: golden images and their neighbours, against PyTorch.
        proven: the images of the proof; None where they are not at hand.
        saturation: as the export writes it; None where it writes none.
    """

    travelled: LogitCheck
    proven: LogitCheck | None
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
    given = manifest.logit_bound or 0.0
    travelled = _check(model, manifest, session, np.concatenate([images, near]), bound=given)
    proven = None
    if data is not None:
        drawn = proof_images(checkpoint, data)
        if drawn.origin != NOISE:
            pixels = drawn.pixels[: int(manifest.proof.get("images", 0)) or None]
            proven = _check(model, manifest, session, pixels)
    return ProofAgain(travelled, proven, saturation)


def _check(
    model: QuantResNet,
    manifest: Manifest,
    session: Session,
    pixels: NDArray[np.uint8],
    *,
    bound: float | None = None,
) -> LogitCheck:
    spec, precision = manifest.input_spec, manifest.precision
    reference = reference_logits(model, pixels, spec, precision)
    if bound is None:
        bound = logit_bound(model, pixels, spec, precision, reference)
    parts = [
        run_padded(session, part if manifest.embed_preprocess else normalize(part, spec))
        for part in (pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH))
    ]
    return compare_logits(np.concatenate(parts), reference, bound, precision)


def proof_faults(manifest: Manifest, again: LogitCheck, *, same_machine: bool) -> list[str]:
    """Where a manifest tells another proof than the one that was made again.

    Args:
        manifest: of the bundle.
        again: on the images of the proof.
        same_machine: the record is of this processor and these versions.
    """
    fault = again.fault()
    return [*([fault] if fault else []), *_figures(manifest.proof, again, same_machine)]


def _figures(told: dict[str, Any], again: LogitCheck, same_machine: bool) -> Iterator[str]:
    if told.get("images") != again.images:
        yield f"{told.get('images')} images are told, and there are {again.images}"
        return
    pairs = {
        "logit_bound": (again.bound, OF_BOUND),
        "largest_difference": (again.largest_difference, OF_DIFFERENCE),
    }
    few = again.allowed if not same_machine else again.allowed / 10
    allowed = {
        **{key: s * again.bound / (10 if same_machine else 1) for key, (_, s) in pairs.items()},
        "share_outside": max(few, 0.1 / again.images),
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
