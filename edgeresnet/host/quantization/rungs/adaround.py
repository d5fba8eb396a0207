"""Each weight rounded up or down so that its block gives what the float one gives."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from edgeresnet.host.quantization.bias_correction import correct_biases
from edgeresnet.host.quantization.block_walk import Unit, units_of, walk
from edgeresnet.host.quantization.rounding import Rounded, round_weights
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished
from edgeresnet.progress import images_progress


def adaround(work: Work, basis: Basis) -> Reached:
    """Calibrate, then learn the rounding of the weights, block by block."""
    chosen = work.images.chosen
    work.context.on_step(f"learning the rounding of weights, block by block ({len(chosen)} images)")
    model = work.calibrated(basis)
    rounded: list[Rounded] = []

    def visit(unit: Unit, plain: Unit, inputs: list[Tensor], plain_inputs: list[Tensor]) -> None:
        if basis.corrected:
            correct_biases(unit, plain, inputs, plain_inputs)
        rounded.append(learn(unit, plain, inputs, plain_inputs))
        done(1)

    learn = partial(round_weights, seed=work.options.seed)
    blocks, shown = len(units_of(model)), work.context.progress
    with images_progress("learning to round", blocks, enabled=shown, what="blocks") as done:
        images = walk(model, work.fresh(basis.network), work.batches_of(chosen), visit)
    return finished(
        model,
        basis,
        observer=basis.observer,
        rounded_on=images,
        blocks=len(rounded),
        blocks_improved=sum(one.kept for one in rounded),
    )
