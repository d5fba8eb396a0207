"""L2: as `l1`, but a few large weights count more than many small ones.

Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 4.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def l2(group: Group, evidence: Evidence) -> Tensor:
    """Euclidean norm of all producers' filters taken together."""
    return torch.stack([evidence.filters(p).square().sum(1) for p in group.producers]).sum(0).sqrt()
