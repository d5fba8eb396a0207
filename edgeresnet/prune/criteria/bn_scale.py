"""BN scale: how far the batch normalization behind a channel lets it swing.

Source: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV
2017, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def bn_scale(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the absolute scales over coupled normalizations."""
    scales = [evidence.state_dict[f"{norm}.weight"].float().abs() for norm in group.norms]
    return torch.stack(scales).sum(0)
