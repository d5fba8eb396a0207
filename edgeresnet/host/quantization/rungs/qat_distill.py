"""Training with fake quantization on what the float network answers, and on nothing else.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, with the float network
as the teacher.
"""

from __future__ import annotations

from dataclasses import replace

from edgeresnet.host.quantization.rungs.qat import trained
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work
from edgeresnet.progress import second_resume_path


def qat_distill(work: Work, basis: Basis) -> Reached:
    """As ``qat``, with distillation at its full weight."""
    options = replace(work.options.train, distill=1.0, label_smoothing=0.0)
    first = work.context.resume_path
    # Where auto has trained already, that training's file stays: it would be repeated else.
    return trained(work, basis, options, first and second_resume_path(first))
