"""Criteria: what a channel is worth. One small file each, and a line in ``CRITERIA``."""

from __future__ import annotations

from edgeresnet.prune.criteria.bn_scale import bn_scale
from edgeresnet.prune.criteria.fpgm import fpgm
from edgeresnet.prune.criteria.l1 import l1
from edgeresnet.prune.criteria.l2 import l2
from edgeresnet.prune.criteria.protocol import Criterion, Evidence
from edgeresnet.prune.criteria.random import random
from edgeresnet.prune.criteria.taylor import taylor

__all__ = ["CRITERIA", "Criterion", "Evidence"]

CRITERIA: dict[str, Criterion] = {
    "taylor": Criterion(taylor, of_loss=True),
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "bn_scale": Criterion(bn_scale),
    "fpgm": Criterion(fpgm),
    "random": Criterion(random),
}
