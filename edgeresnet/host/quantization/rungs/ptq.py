"""Calibration alone: each step size by the observer that is asked for."""

from __future__ import annotations

from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished


def ptq(work: Work, basis: Basis) -> Reached:
    """Calibrate, fold, and nothing else."""
    chosen = work.images.chosen
    work.context.on_step(f"calibrating on {len(chosen)} images ({basis.observer})")
    return finished(work.calibrated(basis), basis)
