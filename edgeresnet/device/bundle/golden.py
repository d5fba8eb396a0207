"""Does a bundle answer here as it did where it was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.bundle import Bundle
from edgeresnet.device.bundle.logits import compare_logits
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.errors import CheckError
from edgeresnet.files import cache_dir, sha256_bytes, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Session


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
        CheckError: the logits, or the classes that they decide for, are not the golden ones.
    """
    marker = _marker_path(bundle, device, fingerprint)
    if marker.is_file():
        return None
    images, golden = bundle.golden()
    inputs = to_input(
        images,
        bundle.manifest.input_spec,
        raw=bundle.manifest.embed_preprocess,
        channels_last=channels_last(session.input_shape),
    )
    logits = run_padded(session, inputs)
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
        write_text(f"{difference}\n", marker)
    except OSError:
        # A read-only home costs a second check next time, nothing else.
        return difference
    return difference


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
    key = "\n".join([*sorted(bundle.manifest.files.values()), device, fingerprint])
    return cache_dir() / "golden" / sha256_bytes(key.encode())[:32]
