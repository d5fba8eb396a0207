"""Criteria: what a channel is worth. One small function each, and a line in ``CRITERIA``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeresnet.host.pruning.groups import Group


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the network.

    Attributes:
        state_dict: torchvision's names.
        gates: for each batch normalization (batches, channels) float32, what a gate behind it
            would have for a gradient in each batch; see `edgeresnet.host.pruning.scoring`.
        seed: of `random`.
    """

    state_dict: Mapping[str, Tensor]
    gates: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0

    def filters(self, conv: str) -> Tensor:
        """(out, in * height * width) float32, a row a filter."""
        return self.state_dict[f"{conv}.weight"].flatten(1).float()


@dataclass(frozen=True)
class Criterion:
    """A rule for the importance of channels.

    Attributes:
        score: gives (channels,) float32, 0 or more, for one group.
        of_loss: scores are changes of the loss, which need `Evidence.gates` and compare from group
            to group; others are brought to a mean of 1 in each group.
    """

    score: Callable[[Group, Evidence], Tensor]
    of_loss: bool = False

    def importance(self, group: Group, evidence: Evidence) -> Tensor:
        """(channels,) float64, comparable between groups."""
        scores = self.score(group, evidence).double()
        if self.of_loss:
            return scores
        return scores / scores.mean().clamp_min(torch.finfo(torch.float64).tiny)


def bn_scale(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the absolute scales over coupled normalizations."""
    scales = [evidence.state_dict[f"{norm}.weight"].float().abs() for norm in group.norms]
    return torch.stack(scales).sum(0)


def fpgm(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the distances to all other filters of the same producer, over producers."""
    distances = [torch.cdist(f, f).sum(1) for f in map(evidence.filters, group.producers)]
    return torch.stack(distances).sum(0)


def l2(group: Group, evidence: Evidence) -> Tensor:
    """Euclidean norm of all producers' filters taken together."""
    return torch.stack([evidence.filters(p).square().sum(1) for p in group.producers]).sum(0).sqrt()


def random(group: Group, evidence: Evidence) -> Tensor:
    """Uniform in [0, 1), drawn from the seed and the group's name."""
    digest = hashlib.sha256(f"{evidence.seed}:{group.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(group.channels, generator=generator)


def l1(group: Group, evidence: Evidence) -> Tensor:
    """Sum of the absolute weights of every producer's filter."""
    return torch.stack([evidence.filters(p).abs().sum(1) for p in group.producers]).sum(0)


def taylor(group: Group, evidence: Evidence) -> Tensor:
    """Mean over batches of the squared sum of the coupled gates' gradients."""
    summed = torch.stack([evidence.gates[norm] for norm in group.norms]).sum(0)
    return summed.square().mean(0)


CRITERIA: dict[str, Criterion] = {
    "taylor": Criterion(taylor, of_loss=True),
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "bn_scale": Criterion(bn_scale),
    "fpgm": Criterion(fpgm),
    "random": Criterion(random),
}
