"""The ladder: every rung by its name, the cheapest first."""

from __future__ import annotations

from edgeresnet.host.quantization.rungs.adaround import adaround
from edgeresnet.host.quantization.rungs.equalize import equalize
from edgeresnet.host.quantization.rungs.mixed import mixed
from edgeresnet.host.quantization.rungs.observer import observer
from edgeresnet.host.quantization.rungs.ptq import ptq
from edgeresnet.host.quantization.rungs.qat import qat
from edgeresnet.host.quantization.rungs.qat_distill import qat_distill
from edgeresnet.host.quantization.rungs.rung import Rung
from edgeresnet.settings.quantization import QuantizeOptions, RungName

RUNGS: dict[RungName, Rung] = {
    "ptq": ptq,
    "observer": observer,
    "equalize": equalize,
    "adaround": adaround,
    "mixed": mixed,
    "qat": qat,
    "qat-distill": qat_distill,
}


def rungs_of(options: QuantizeOptions) -> list[RungName]:
    """Those that a quantization may try, in order."""
    if options.method != "auto":
        return [options.method]
    # Where a training has no other teacher already, the last would be the same again.
    same = options.train.distill == 1 and options.train.label_smoothing == 0
    return [name for name in RUNGS if not (same and name == "qat-distill")]
