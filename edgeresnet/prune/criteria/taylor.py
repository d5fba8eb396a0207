"""Taylor: how much the loss changes, to first order, when the channel is switched off.

Source: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equation
8, with the gate behind batch normalization of its section 3.2. A residual stream's channel has a
gate behind every producer; switching it off closes all of them, so their gradients are summed
before they are squared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def taylor(group: Group, evidence: Evidence) -> Tensor:
    """Mean over batches of the squared sum of the coupled gates' gradients."""
    summed = torch.stack([evidence.gates[norm] for norm in group.norms]).sum(0)
    return summed.square().mean(0)
