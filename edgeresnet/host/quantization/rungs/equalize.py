"""Channels evened out inside the blocks, and biases that make up for what rounding shifts."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.host.quantization.bias_correction import correct_biases
from edgeresnet.host.quantization.block_walk import walk
from edgeresnet.host.quantization.calibrate import observing, run_all
from edgeresnet.host.quantization.equalization import ChannelMaximum, equalized, inner_quantizers
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished


def equalize(work: Work, basis: Basis) -> Reached:
    """Equalize the float network, which answers as before, calibrate it and correct its biases."""
    chosen = work.images.chosen
    work.context.on_step(f"evening out channels inside the blocks ({len(chosen)} images)")
    model = work.fresh(basis.network)
    maxima = {name: ChannelMaximum() for name in inner_quantizers(model)}
    quantizers = model.quantizers()
    with observing(model, {quantizers[name]: seen for name, seen in maxima.items()}):
        run_all(model, work.batches_of(chosen))
    ranges = {name: seen.maximum for name, seen in maxima.items()}
    network, largest = equalized(basis.network, ranges)
    even = replace(basis, network=network, corrected=True)
    model = work.calibrated(even)
    corrected_on = walk(model, work.fresh(network), work.batches_of(chosen), correct_biases)
    return finished(
        model, even, largest_factor=largest, observer=even.observer, corrected_on=corrected_on
    )
