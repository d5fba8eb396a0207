"""A written model answers as PyTorch does: on the proof's images, and on those that travel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.golden import SHARE_OF_SAME_KERNELS
from edgeresnet.device.bundle.logits import compare_logits
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.errors import CheckError
from edgeresnet.host.export.logit_bound import BATCH, logit_bound, reference_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.bundle.golden_runs import GoldenRuns
    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.host.export.golden_choice import GoldenChoice
    from edgeresnet.host.export.proof_images import ProofImages
    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.export import BatchRange
    from edgeresnet.settings.inputs import InputSpec

# An emulator takes seconds an image: as many as it answers in this time, but not fewer than that.
EMULATOR_SECONDS = 60.0
EMULATOR_IMAGES = 16
QUANTIZED_FIX = "calibrate on more images of the real data, or train with --method qat."
FLOAT_FIX = (
    "a newer runtime may compute more exactly; export fp32, or report this with what `edgeresnet "
    "devices` prints."
)


@dataclass(frozen=True, eq=False)
class LogitProof:
    """What a model has to answer.

    Attributes:
        model: PyTorch's, folded, in eval mode.
        spec: how an image becomes an input.
        precision: of the bundle.
        pixels_in: the written model takes (N, H, W, 3) uint8 and normalizes inside.
        images: to prove it on.
        golden: the images that travel.
        batch: sizes that the model takes.
    """

    model: QuantResNet
    spec: InputSpec
    precision: str
    pixels_in: bool
    images: ProofImages
    golden: GoldenChoice
    batch: BatchRange

    def prove(self, session: Session, runtime: str, answers: NDArray[np.float32]) -> dict[str, Any]:
        """Compare a session's logits with PyTorch's.

        Args:
            session: the written model.
            runtime: its name, for the message.
            answers: of this session, as `answers` gives them.

        Returns:
            For the manifest: ``images`` and ``data`` (how many and of what), ``logit_bound`` and
            ``largest_difference`` in logits, ``share_outside`` of the bound, ``close_calls``
            (images that changed class with a margin within twice the bound),
            ``logit_difference`` (the largest as a share of the logits' range), ``logits_from``.

        Raises:
            CheckError: the logits are not PyTorch's, by `edgeresnet.device.bundle.logits`.
        """
        pixels = self.images.pixels[: len(answers)]
        reference = reference_logits(self.model, pixels, self.spec, self.precision)
        bound = logit_bound(self.model, pixels, self.spec, self.precision, reference)
        check = compare_logits(answers, reference, bound, self.precision)
        what = f"{len(answers)} images of {self.images.origin}"
        self.refuse(check.fault(self.images.names), runtime, what)
        return {
            "images": check.images,
            "data": self.images.origin,
            "logit_bound": check.bound,
            "largest_difference": check.largest_difference,
            "share_outside": check.share_outside,
            "close_calls": check.close_calls,
            "logit_difference": check.largest_difference / (float(np.ptp(reference)) or 1.0),
            "logits_from": runtime,
        }

    def check_golden(self, runs: GoldenRuns, runtime: str, bound: float) -> None:
        """The images that travel, at every batch size that the bundle is checked at.

        Raises:
            CheckError: the logits are not PyTorch's.
        """
        for one in runs.rounds:
            check = compare_logits(runs.with_round(one), self.golden.logits, bound, self.precision)
            what = f"the images that travel with the bundle, in a batch of {one.size}"
            self.refuse(check.fault(), runtime, what)

    def repeats(self, runs: GoldenRuns, bound: float) -> bool:
        """Whether a runtime's integer kernels give the same at every batch size, by far."""
        steady = (
            runs.farthest(runs.logits).distance(runs.logits) <= SHARE_OF_SAME_KERNELS * bound / 3
        )
        return is_quantized(self.precision) and steady

    def refuse(self, fault: str | None, runtime: str, what: str, outputs: str = "logits") -> None:
        """Raise the fault, if there is one, of the outputs on these images.

        Raises:
            CheckError: with the fault.
        """
        if fault is not None:
            raise CheckError(
                f"{runtime} does not give PyTorch's {outputs} on {what}: {fault}",
                QUANTIZED_FIX if is_quantized(self.precision) else FLOAT_FIX,
            )

    def _inputs(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return pixels if self.pixels_in else normalize(pixels, self.spec)

    def answers(self, session: Session) -> NDArray[np.float32]:
        """Logits (n, classes) of all images, or of the first that an emulator has time for."""
        pixels = self.images.pixels
        step = session.batch_sizes[0] if session.emulated else BATCH
        parts: list[NDArray[np.float32]] = []
        start = time.monotonic()
        for first in range(0, len(pixels), step):
            late = session.emulated and time.monotonic() - start > EMULATOR_SECONDS
            if late and first >= EMULATOR_IMAGES:
                break
            parts.append(run_padded(session, self._inputs(pixels[first : first + step])))
        return np.concatenate(parts)
