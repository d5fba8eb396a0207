"""Random: the control that a criterion must beat."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from edgeresnet.prune.criteria.protocol import Evidence
from edgeresnet.prune.topology import Group


def random(group: Group, evidence: Evidence) -> Tensor:
    """Uniform in [0, 1), drawn from the seed and the group's name."""
    digest = hashlib.sha256(f"{evidence.seed}:{group.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(group.channels, generator=generator)
