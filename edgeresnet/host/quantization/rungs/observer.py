"""The observer by which the network answers most like the float one."""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.host.quantization.observers import OBSERVERS
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished


def observer(work: Work, basis: Basis) -> Reached:
    """Try every observer, and keep the one that is nearest to the float network.

    Decided on training images that calibrate none of them: on those that do, the one that fits
    them best would win, and validation images are there to judge the result.
    """
    images = work.images
    work.context.on_step(
        f"trying {len(OBSERVERS)} observers on {len(images.learned)} images, and choosing by "
        f"{len(images.held_out)} others"
    )
    distances = {}
    for name in OBSERVERS:
        model = work.calibrated(replace(basis, observer=name), images.learned)
        model.fold()
        distances[name] = work.distance(model)
    # The one that was asked for where another is no better.
    best = min(distances, key=lambda name: (distances[name], name != basis.observer))
    kept = replace(basis, observer=best)
    return finished(work.calibrated(kept), kept, observer=best, divergences=distances)
