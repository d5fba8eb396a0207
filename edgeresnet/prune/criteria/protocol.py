"""What a criterion is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeresnet.prune.topology import Group


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the network.

    Attributes:
        state_dict: torchvision's names.
        gates: for each batch normalization (batches, channels) float32, what a gate behind it
            would have for a gradient in each batch; see `edgeresnet.prune.gradients`.
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
