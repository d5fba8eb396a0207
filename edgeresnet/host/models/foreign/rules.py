"""What says how an origin names a ResNet's tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# By the weights of its convolutions a block is known.
WEIGHT = r"weight$"


@dataclass(frozen=True)
class Naming:
    """How an origin names the tensors of a ResNet.

    Attributes:
        block: matches the name of a block's convolution; its group ``prefix`` is what stands before
            the network's own names.
        rules: regular expressions, and what torchvision's name is where one matches; tried in turn.
    """

    block: re.Pattern[str]
    rules: Sequence[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = ()

    def rename(self, name: str) -> str:
        """The tensor's name in torchvision's ResNet; what no rule is about stays as it is."""
        for pattern, new in self.rules:
            if pattern.match(name):
                return pattern.sub(new, name, count=1)
        return name
