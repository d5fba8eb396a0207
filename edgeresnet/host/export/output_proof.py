"""A written model gives PyTorch's logits and features, each within its own bound.

Of features the bound is `edgeresnet.host.export.logit_bound`'s for each channel: a channel's values
have the same grids before them, and channels differ. A tensor whose own grid is coarser than what
came before may still be one step of it away, as a rounding decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.bundle.features import (
    GoldenFeatures,
    SideBySide,
    compare_features,
    features_among,
    split,
    spread_of,
)
from edgeresnet.device.bundle.golden_runs import GoldenRuns, run_golden
from edgeresnet.device.bundle.manifest_schema import largest_share
from edgeresnet.device.targets.outputs import columns_of
from edgeresnet.device.targets.precision import float_precision, is_quantized
from edgeresnet.host.export.logit_bound import DEVIATIONS, FLOAT_TOLERANCES, unrounded
from edgeresnet.host.export.logit_proof import LogitProof
from edgeresnet.host.models.level_outputs import sampled_outputs, steps_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.outputs import Output
    from edgeresnet.device.targets.protocol import Session
    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.inputs import InputSpec


@dataclass(frozen=True, eq=False)
class Proven:
    """What a written model has shown.

    Attributes:
        proof: for the manifest; with features ``outputs`` has ``bound`` (the mean of all),
            ``largest_difference`` and ``share_outside`` of each.
        answers: (n, classes) logits of the proof's images; (0, 0) of a bundle without.
        logits: (m, classes), golden; (m, 0) of a bundle without.
        features: golden; None of a bundle that gives logits alone.
        golden_from: not None where the golden values are the target's own.
    """

    proof: dict[str, Any]
    answers: NDArray[np.float32]
    logits: NDArray[np.float32]
    features: GoldenFeatures | None
    golden_from: str | None


@dataclass(frozen=True, eq=False)
class OutputProof:
    """What a model has to give.

    Attributes:
        logits: what it has to answer, and the images.
        outputs: all that it gives; none: logits alone.
    """

    logits: LogitProof
    outputs: tuple[Output, ...]

    def prove(self, session: Session, runtime: str, *, own: bool) -> Proven:
        """Compare a session's outputs with PyTorch's, at every batch size of the bundle.

        Args:
            session: the written model.
            runtime: its name, for the message.
            own: it is the target's own, so that golden values may be its.

        Raises:
            CheckError: they are not PyTorch's.
        """
        wanted = self.logits
        told = SideBySide(session, self.outputs) if self.outputs else session
        answers = wanted.answers(told)
        runs = run_golden(
            told, wanted.golden.images, wanted.spec, wanted.batch, pixels=wanted.pixels_in
        )
        if not self.outputs:
            return self._of_logits(session, runtime, answers, runs, own=own)
        logits, others = split(answers, self.outputs)
        gives_logits = logits.shape[1] > 0
        if gives_logits:
            own_runs = runs.part(lambda values: split(values, self.outputs)[0])
            proven = self._of_logits(session, runtime, logits, own_runs, own=own)
        else:
            images = {"images": len(answers), "data": wanted.images.origin, "logits_from": runtime}
            empty = np.zeros((len(wanted.golden.images), 0), np.float32)
            proven = Proven(images, np.zeros((0, 0), np.float32), empty, None, None)
        return self._with_features(proven, runtime, others, runs)

    def _of_logits(
        self,
        session: Session,
        runtime: str,
        answers: NDArray[np.float32],
        runs: GoldenRuns,
        *,
        own: bool,
    ) -> Proven:
        wanted = self.logits
        proof = wanted.prove(session, runtime, answers)
        bound = proof["logit_bound"]
        wanted.check_golden(runs, runtime, bound)
        repeats = own and wanted.repeats(runs, bound)
        golden = runs.logits if repeats else wanted.golden.logits
        return Proven(proof, answers, golden, None, runtime if repeats else None)

    def _with_features(
        self, proven: Proven, runtime: str, answers: NDArray[np.float32], runs: GoldenRuns
    ) -> Proven:
        wanted, outputs = self.logits, features_among(self.outputs)
        model, spec, precision = wanted.model, wanted.spec, wanted.precision
        pixels = wanted.images.pixels[: len(answers)]
        reference = sampled_outputs(model, pixels, spec, precision, outputs)
        bounds = feature_bounds(model, pixels, spec, precision, outputs, reference)
        what = f"{len(answers)} images of {wanted.images.origin}"
        figures = self._check(answers, GoldenFeatures(reference, bounds), runtime, what)
        golden = sampled_outputs(model, wanted.golden.images, spec, precision, outputs)
        bounds = np.minimum(bounds, _most(golden, precision, outputs))
        runs = runs.part(lambda values: split(values, self.outputs)[1])
        for one in runs.rounds:
            what = f"the images that travel with the bundle, in a batch of {one.size}"
            self._check(runs.with_round(one), GoldenFeatures(golden, bounds), runtime, what)
        if proven.golden_from is not None:
            golden = runs.logits
            bounds = np.minimum(bounds, _most(golden, precision, outputs))
        return Proven(
            proven.proof | {"outputs": figures},
            proven.answers,
            proven.logits,
            GoldenFeatures(golden, bounds),
            proven.golden_from,
        )

    def _check(
        self, values: NDArray[np.float32], golden: GoldenFeatures, runtime: str, what: str
    ) -> dict[str, dict[str, float]]:
        outputs, figures = features_among(self.outputs), {}
        for check in compare_features(values, golden, outputs, self.logits.precision):
            self.logits.refuse(check.fault(), runtime, what, "features")
            figures[check.name] = check.to_dict()
        return figures


def feature_bounds(
    model: QuantResNet,
    images: NDArray[np.uint8],
    spec: InputSpec,
    precision: str,
    outputs: tuple[Output, ...],
    reference: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How far from ``reference`` rounding may move each value, (columns,) float32.

    Args:
        model: folded, in eval mode.
        images: (n, H, W, 3) uint8, of which ``reference`` is.
        spec: how they become inputs.
        precision: of the bundle.
        outputs: without logits.
        reference: (n, columns) of `sampled_outputs`.
    """
    error = None
    if is_quantized(precision):
        with unrounded(model):
            free = sampled_outputs(model, images, spec, precision, outputs)
        error = reference.astype(np.float64) - free
    parts = []
    for output, part in columns_of(outputs):
        lowest = FLOAT_TOLERANCES[float_precision(precision)] * spread_of(reference[:, part])
        of_channel = np.full(output.shape[0], lowest)
        if error is not None:
            squares = np.square(error[:, part]).reshape(len(error), output.shape[0], -1)
            of_channel = np.maximum(lowest, DEVIATIONS * np.sqrt(2 * squares.mean(axis=(0, 2))))
        parts.append(np.repeat(of_channel, len(output.places)))
    bounds = np.concatenate(parts)
    if error is not None:
        bounds = np.maximum(bounds, steps_of(model, outputs))
    found: NDArray[np.float32] = bounds.astype(np.float32)
    return found


def _most(
    golden: NDArray[np.float32], precision: str, outputs: tuple[Output, ...]
) -> NDArray[np.float32]:
    """(columns,) what a bundle's reader takes as a bound."""
    parts = []
    for output, part in columns_of(outputs):
        most = largest_share(precision) * spread_of(golden[:, part])
        parts.append(np.full(output.columns, most, np.float32))
    return np.concatenate(parts)
