"""Mixed precision: the fewest layers in float that keep the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeresnet.device.measure.budgets import fails, quantization_budgets
from edgeresnet.host.models.validation import EvaluationSet
from edgeresnet.host.quantization.bias_correction import correct_biases
from edgeresnet.host.quantization.block_walk import walk
from edgeresnet.host.quantization.embedding_reference import any_reference
from edgeresnet.host.quantization.mixed import mixed_precision
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished


def mixed(work: Work, basis: Basis) -> Reached:
    """Calibrate, then keep the layers in float without which the budget is missed.

    Which these are is decided on training images that calibrated nothing, by the budget's point
    value.
    """
    chosen, held_out = work.images.learned, work.images.held_out
    work.context.on_step(f"looking for the layers to keep in float ({len(held_out)} images)")
    model = work.calibrated(basis, chosen)
    if basis.corrected:
        walk(model, work.fresh(basis.network), work.batches_of(chosen), correct_biases)
    model.fold()
    reference = any_reference(work.checkpoint, held_out, seed=work.options.seed)
    limits = work.options.limits(labelled=work.reference.labelled)

    def keeps(figures: Mapping[str, Any]) -> bool:
        checked = quantization_budgets({"method": "mixed", **figures}, limits)
        return not any(fails(budget, strict=False) for budget in checked)

    found = mixed_precision(
        model.cpu().eval(),
        reference,
        keeps,
        EvaluationSet(chosen, work.checkpoint.input_spec),
        on_step=work.context.on_step,
    )
    told = {key: found.figures[key] for key in ("networks_tried", "sensitivities")}
    return finished(model, basis, observer=basis.observer, **told)
