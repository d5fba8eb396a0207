"""Does a bundle answer here as it did where it was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.bundle import Bundle
from edgeresnet.device.bundle.logits import compare_logits
from edgeresnet.device.bundle.manifest_schema import largest_share
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.errors import CheckError, InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.places import cache_dir
from edgeresnet.files.writing import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Session


# Of images that are checked together.
MOST_BYTES = 32 << 20


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
    images, golden = bundle.golden()
    _check_bound(bundle, golden)
    logits = _answers(bundle.manifest, session, images)
    difference = relative_difference(logits, golden)
    fault = _fault(bundle.manifest, logits, golden, difference)
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
    spread, most = float(golden.max() - golden.min()), largest_share(manifest.precision)
    if manifest.logit_bound is not None and manifest.logit_bound > most * (spread or 1.0):
        raise InputError(
            f"{bundle.path} lets golden logits of a range of {spread:.3g} be "
            f"{manifest.logit_bound:.3g} away; of {manifest.precision} at most {most:g} of the "
            "range is explained",
            "export it again.",
        )


def _answers(
    manifest: Manifest, session: Session, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Logits of some images at a time: as inputs they are four times as large."""
    step = max(1, MOST_BYTES // images[0].nbytes)
    parts = []
    for start in range(0, len(images), step):
        inputs = to_input(
            images[start : start + step],
            manifest.input_spec,
            raw=manifest.embed_preprocess,
            channels_last=channels_last(session.input_shape),
        )
        parts.append(run_padded(session, inputs))
    return np.concatenate(parts)


def _fault(
    manifest: Manifest,
    logits: NDArray[np.float32],
    golden: NDArray[np.float32],
    difference: float,
) -> str | None:
    if manifest.logit_bound is not None:
        return compare_logits(logits, golden, manifest.logit_bound, manifest.precision).fault()
    if difference > manifest.golden_tolerance:
        return (
            f"logits {difference:.3f} of their range away; {manifest.golden_tolerance} is allowed"
        )
    return None


def _marker_path(bundle: Bundle, device: str, fingerprint: str) -> Path:
    # All that the check goes by, its bound too.
    key = "\n".join([bundle.manifest.to_json(), device, fingerprint])
    return cache_dir() / "golden" / sha256_bytes(key.encode())[:32]
