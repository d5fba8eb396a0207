"""What says how an origin names a ResNet's tensors, and how its networks are used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from edgeresnet.settings.network import StrideIn

# By the weights of its convolutions a block is known.
WEIGHT = r"weight$"


@dataclass(frozen=True)
class Origin:
    """How an origin names the tensors of a ResNet, and what its own defaults are.

    Attributes:
        block: matches the name of a block's convolution, by which the origin is known; its group
            ``prefix`` is what stands before the network's own names.
        rules: regular expressions, and what torchvision's name is where one matches; tried in turn.
        convert: makes torchvision's tensor of the file's, by torchvision's name.
        defaults_of: whose defaults the next two are, for people; "" where there are none.
        stride_in: which convolution of a bottleneck has the stride where nothing says it.
        inputs: mean, std and channels where nothing says them, by the names of `InputSpec`.
        head: what its usual classifier is, where that is no single linear layer.
    """

    block: re.Pattern[str]
    rules: Sequence[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = ()
    convert: Callable[[str, Tensor], Tensor] | None = None
    defaults_of: str = ""
    stride_in: StrideIn | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    head: str = ""

    def rename(self, name: str) -> str:
        """The tensor's name in torchvision's ResNet; what no rule is about stays as it is."""
        for pattern, new in self.rules:
            if pattern.match(name):
                return pattern.sub(new, name, count=1)
        return name
