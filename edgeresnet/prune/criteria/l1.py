"""L1: the size of the filters that make a channel.

Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1; the coupled
filters of a residual stream are summed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def l1(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the absolute weights of every producer's filter."""
    return torch.stack([evidence.filters(p).abs().sum(1) for p in group.producers]).sum(0)
