"""Does a bundle answer here as it did where it was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.bundle import Bundle
from edgeresnet.device.bundle.features import (
    GoldenFeatures,
    SideBySide,
    compare_features,
    fault_of_bounds,
    features_among,
    split,
)
from edgeresnet.device.bundle.golden_runs import kernels_here, run_golden
from edgeresnet.device.bundle.logits import compare_logits
from edgeresnet.device.bundle.manifest_schema import largest_share
from edgeresnet.errors import CheckError, InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.places import cache_dir
from edgeresnet.files.writing import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.golden_runs import GoldenRuns
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Session


# Of the bound: how far the same kernels as the export's may be from golden logits, as the root of
# the mean square. Their integers are the same; ONNX Runtime's float operators in place of its
# integer kernels, on the same grids, are 0.02 of it away.
SHARE_OF_SAME_KERNELS = 0.1


def relative_difference(logits: NDArray[np.float32], golden: NDArray[np.float32]) -> float:
    """Largest absolute difference as a share of the range of ``golden``; inf for NaN."""
    spread = float(golden.max() - golden.min()) or 1.0
    worst = float(np.abs(logits.astype(np.float64) - golden).max()) / spread
    return worst if np.isfinite(worst) else float("inf")


def check_golden(bundle: Bundle, session: Session, device: str, fingerprint: str) -> float | None:
    """Once for each bundle, device and machine: do the golden images give the golden logits?

    Args:
        bundle: gives images, logits and their bound (older ones a tolerance).
        session: the bundle, opened on the device.
        device: its name.
        fingerprint: of this machine and its runtimes.

    Returns:
        The difference as a share of the logits' range; None if it was checked before.

    Raises:
        InputError: the golden file, or the bound, can be no export's.
        CheckError: the logits, or the classes that they decide for, are not the golden ones.
    """
    marker = _marker_path(bundle, device, fingerprint)
    if _is_marked(marker):
        return None
    fault, difference = golden_fault(bundle, session, device)
    if fault is not None:
        raise CheckError(
            f"{bundle.path} on {device} does not give the golden logits: {fault}",
            "update the runtime or its driver on this device; if that does not help, the bundle "
            "must not be used here.",
        )
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_text(f"{difference}\n", marker, sync=False)
    except OSError:
        # A read-only home costs a second check next time, nothing else.
        return difference
    return difference


def golden_fault(bundle: Bundle, session: Session, device: str) -> tuple[str | None, float]:
    """What is wrong with the answers to the golden images, whatever was checked before.

    Args:
        bundle: gives images, logits and their bound (older ones a tolerance).
        session: the bundle, opened on the device.
        device: its name.

    Returns:
        The fault, None if there is none; and the difference as a share of the logits' range.

    Raises:
        InputError: the golden file, or the bound, can be no export's.
    """
    images, golden = bundle.golden()
    _check_bound(bundle, golden)
    features, manifest = bundle.golden_features(len(images)), bundle.manifest
    told = session if features is None else SideBySide(session, manifest.outputs)
    runs = run_golden(
        told, images, manifest.input_spec, manifest.batch, pixels=manifest.embed_preprocess
    )
    if features is not None:
        others = runs.part(lambda values: split(values, manifest.outputs)[1])
        fault = _feature_fault(bundle, others, features)
        if fault is not None or not manifest.logits:
            return fault, relative_difference(others.logits, features.values)
        runs = runs.part(lambda values: split(values, manifest.outputs)[0])
    same = manifest.golden_from == kernels_here(manifest.target, device, session)
    fault = _fault(manifest, runs, golden, same_kernels=same)
    return fault, relative_difference(runs.logits, golden)


def _feature_fault(bundle: Bundle, runs: GoldenRuns, golden: GoldenFeatures) -> str | None:
    """What is wrong with the features at any batch size; None if nothing is."""
    manifest = bundle.manifest
    outputs = features_among(manifest.outputs)
    wrong = fault_of_bounds(golden, outputs, largest_share(manifest.precision))
    if wrong is not None:
        raise InputError(f"{bundle.path} cannot be checked: {wrong}", "export it again.")
    for one in runs.rounds:
        values = runs.with_round(one)
        for check in compare_features(values, golden, outputs, manifest.precision):
            if (fault := check.fault()) is not None:
                return f"in a batch of {one.size}: {fault}" if manifest.batch.dynamic else fault
    return None


def _is_marked(marker: Path) -> bool:
    """Whether a check of before left its mark; one that a loss of power emptied is none."""
    try:
        float(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _check_bound(bundle: Bundle, golden: NDArray[np.float32]) -> None:
    """Refuse a bound within which any logits would be the golden ones."""
    manifest = bundle.manifest
    if not manifest.logits:
        return
    spread, most = float(golden.max() - golden.min()), largest_share(manifest.precision)
    if manifest.logit_bound is not None and manifest.logit_bound > most * (spread or 1.0):
        raise InputError(
            f"{bundle.path} lets golden logits of a range of {spread:.3g} be "
            f"{manifest.logit_bound:.3g} away; of {manifest.precision} at most {most:g} of the "
            "range is explained",
            "export it again.",
        )


def _fault(
    manifest: Manifest, runs: GoldenRuns, golden: NDArray[np.float32], *, same_kernels: bool
) -> str | None:
    """What is wrong with the answers at any batch size; None if nothing is."""
    for one in runs.rounds:
        fault = _fault_of(manifest, runs.with_round(one), golden)
        if fault is not None:
            worst = runs.farthest(golden).size
            return f"in a batch of {worst}: {fault}" if manifest.batch.dynamic else fault
    if not same_kernels or manifest.logit_bound is None:
        return None
    limit, distance = (
        SHARE_OF_SAME_KERNELS * manifest.logit_bound,
        runs.farthest(golden).distance(golden),
    )
    if distance <= limit:
        return None
    return (
        f"logits {distance:.3g} away (root of the mean square), and the same kernels as here gave "
        f"them when it was exported; {limit:.3g} is allowed"
    )


def _fault_of(
    manifest: Manifest, logits: NDArray[np.float32], golden: NDArray[np.float32]
) -> str | None:
    if manifest.logit_bound is not None:
        return compare_logits(logits, golden, manifest.logit_bound, manifest.precision).fault()
    difference = relative_difference(logits, golden)
    if difference > manifest.golden_tolerance:
        return (
            f"logits {difference:.3f} of their range away; {manifest.golden_tolerance} is allowed"
        )
    return None


def _marker_path(bundle: Bundle, device: str, fingerprint: str) -> Path:
    # All that the check goes by, its bound too.
    key = "\n".join([bundle.manifest.to_json(), device, fingerprint])
    return cache_dir() / "golden" / sha256_bytes(key.encode())[:32]
