"""FPGM: a filter near the geometric median of its layer can be replaced by the others.

Source: He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
Acceleration", CVPR 2019, equation 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def fpgm(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the distances to all other filters of the same producer, over producers."""
    distances = [torch.cdist(f, f).sum(1) for f in map(evidence.filters, group.producers)]
    return torch.stack(distances).sum(0)
