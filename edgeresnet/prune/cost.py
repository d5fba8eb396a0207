"""What widths cost: a sum of terms, each the product of the widths that a layer joins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeresnet.prune.topology import Group


@dataclass(frozen=True)
class Term:
    """``factor`` times the widths of ``groups``: a convolution has two, the first layer one."""

    groups: tuple[str, ...]
    factor: float

    def value(self, widths: Mapping[str, int]) -> float:
        """The cost at these widths."""
        return self.factor * math.prod([widths[group] for group in self.groups])


def cost_terms(groups: Mapping[str, Group], layer_costs: Mapping[str, float]) -> list[Term]:
    """Terms whose sum at the present widths is that of ``layer_costs``.

    Args:
        groups: of the network as it is.
        layer_costs: what each convolution and classifier costs now (multiply-accumulates,
            parameters, milliseconds); an add, ``layer1.0.add``, costs in proportion to its stream.
    """
    made_by = {producer: g.name for g in groups.values() for producer in g.producers}
    read_by = {consumer: g.name for g in groups.values() for consumer in g.consumers}
    terms = []
    for layer, cost in layer_costs.items():
        names = (read_by.get(layer), made_by.get(layer))
        if layer.endswith(".add"):
            names = (layer.split(".")[0], None)
        joined = tuple(name for name in names if name is not None)
        if joined:
            now = math.prod([groups[name].channels for name in joined])
            terms.append(Term(joined, cost / now))
    return terms
