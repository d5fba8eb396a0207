"""How wide every group may stay: the cheapest widths in importance that meet a budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.pruning.groups import Group


@dataclass(frozen=True)
class Limits:
    """What widths are allowed.

    Attributes:
        step: every width is a multiple of it; what the target's kernels are good at.
        smallest: the narrowest that each group may become, a multiple of the step.
        removable: blocks that may go as a whole.
    """

    step: int
    smallest: Mapping[str, int]
    removable: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        groups: Mapping[str, Group],
        step: int,
        floor: float,
        removable: frozenset[str] = frozenset(),
    ) -> Limits:
        """Limits that leave every group the share ``floor`` of its present channels, or more.

        Raises:
            InputError: the step is wider than a group.
        """
        for group in groups.values():
            if group.channels < step:
                raise InputError(
                    f"a width step of {step} is wider than {group.name}, which has "
                    f"{group.channels} channels",
                    f"give a step of {group.channels} or less.",
                )
        smallest = {
            name: min(
                max(1, round(floor * group.channels / step)) * step, group.channels // step * step
            )
            for name, group in groups.items()
        }
        return cls(step, smallest, removable)


@dataclass(frozen=True)
class Plan:
    """What to keep.

    Attributes:
        keep: indices that stay, ascending, for every group that loses channels; none: the block
            goes.
        widths: of every group.
        cost: share of the present cost, by the planner's own terms.
    """

    keep: dict[str, list[int]]
    widths: dict[str, int]
    cost: float


def plan_widths(
    groups: Mapping[str, Group],
    importance: Mapping[str, Tensor],
    terms: Sequence[Term],
    share: float,
    limits: Limits,
) -> Plan:
    """Cut step by step what is worth least for what it saves, until the cost is ``share``.

    A cut may be several steps wide, where one alone saves little. In the end channels come back as
    far as the budget has room.

    Args:
        groups: of the network as it is.
        importance: (channels,) of each group, comparable between groups.
        terms: of the cost.
        share: of the present cost, in (0, 1).
        limits: allowed widths.

    Raises:
        InputError: the narrowest widths cost more.
    """
    search = _Search(groups, importance, terms, limits)
    budget = share * search.dense_cost
    while search.cost > budget:
        cut = search.best_cut()
        if cut is None:
            reached = search.cost / search.dense_cost
            raise InputError(
                f"a share of {share:.3g} cannot be reached: with every layer at its narrowest "
                f"{reached:.3g} of the cost is left",
                f"ask for {reached * 1.01:.3g} or more, lower the floor, or allow whole blocks to "
                "be removed.",
            )
        search.apply(cut)
    search.grow_back(budget)
    return search.plan()


def narrowest_share(groups: Mapping[str, Group], terms: Sequence[Term], limits: Limits) -> float:
    """Share of the present cost that is left with every group at its narrowest."""
    dense = {name: group.channels for name, group in groups.items()}
    narrow = {
        name: 0 if group.block in limits.removable else limits.smallest[name]
        for name, group in groups.items()
    }
    return sum(t.value(narrow) for t in terms) / sum(t.value(dense) for t in terms)


class _Search:
    """Widths on the way down."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        importance: Mapping[str, Tensor],
        terms: Sequence[Term],
        limits: Limits,
    ) -> None:
        self._groups, self._limits = groups, limits
        self.widths = {name: group.channels for name, group in groups.items()}
        self._order: dict[str, NDArray[np.int64]] = {}
        # _worth[g][k]: importance of the k best channels of group g.
        self._worth: dict[str, NDArray[np.float64]] = {}
        for name in groups:
            scores = importance[name].double().numpy()
            self._order[name] = np.argsort(-scores, kind="stable")
            sums = np.cumsum(scores[self._order[name]])
            self._worth[name] = np.concatenate([[0.0], sums])
        # Dead channels are worth nothing; among them what saves most still goes first.
        total = float(sum(worth[-1] for worth in self._worth.values()))
        self._least = max(1e-12 * total, 1e-150)
        self._terms: defaultdict[str, list[Term]] = defaultdict(list)
        for term in terms:
            for name in term.groups:
                self._terms[name].append(term)
        self._all_terms = terms
        self.dense_cost = self.cost = self._total()
        self._best: dict[str, tuple[float, dict[str, int]] | None] = {}
        self._align()

    def _align(self) -> None:
        """Widths of a checkpoint that was pruned elsewhere need not be multiples of the step."""
        step = self._limits.step
        self.widths = {name: width // step * step for name, width in self.widths.items()}
        self.cost = self._total()

    def _total(self) -> float:
        return sum(term.value(self.widths) for term in self._all_terms)

    def _slope(self, name: str) -> float:
        """What one channel of the group costs: no term has a group twice."""
        return sum(term.value({**self.widths, name: 1}) for term in self._terms[name])

    def _narrower(self, name: str) -> tuple[float, dict[str, int]] | None:
        """The best cut of this group alone, and what it saves for each bit of importance."""
        now, step = self.widths[name], self._limits.step
        smallest = self._limits.smallest[name]
        widths = np.arange(now - step, smallest - 1, -step)
        if len(widths) == 0:
            return None
        worth = self._worth[name]
        losses = np.maximum(worth[now] - worth[widths], self._least)
        rates = self._slope(name) * (now - widths) / losses
        best = int(rates.argmax())
        return float(rates[best]), {name: int(widths[best])}

    def _without_block(self, name: str) -> tuple[float, dict[str, int]] | None:
        """Removing the whole block that the group is in, where that is allowed."""
        block = self._groups[name].block
        if block not in self._limits.removable or not self.widths[name]:
            return None
        inner = [g.name for g in self._groups.values() if g.block == block]
        cut = dict.fromkeys(inner, 0)
        # A block without any channel in one of its inner groups computes nothing.
        loss = min(self._worth[g][self.widths[g]] for g in inner)
        return self._saving(cut) / max(float(loss), self._least), cut

    def _saving(self, cut: Mapping[str, int]) -> float:
        touched = {id(term): term for name in cut for term in self._terms[name]}.values()
        after = {**self.widths, **cut}
        return sum(term.value(self.widths) - term.value(after) for term in touched)

    def best_cut(self) -> dict[str, int] | None:
        """The cut that saves most for what it loses; None if all is at its narrowest."""
        for name in self._groups:
            if name not in self._best:
                rated = [r for r in (self._narrower(name), self._without_block(name)) if r]
                self._best[name] = max(rated, key=lambda entry: entry[0], default=None)
        found = [entry for entry in self._best.values() if entry is not None]
        return max(found, key=lambda entry: entry[0])[1] if found else None

    def apply(self, cut: Mapping[str, int]) -> None:
        """Set widths; what a neighbour's cut would save has changed with them."""
        self.cost -= self._saving(cut)
        self.widths.update(cut)
        for name in cut:
            self._best.pop(name, None)
            for term in self._terms[name]:
                for neighbour in term.groups:
                    self._best.pop(neighbour, None)

    def grow_back(self, budget: float) -> None:
        """Give back steps, most important for their cost first, while the budget has room."""
        step = self._limits.step
        while True:
            fitting: dict[str, float] = {}
            for name, width in self.widths.items():
                cost = self._slope(name) * step
                if (
                    width
                    and width + step <= self._groups[name].channels
                    and self.cost + cost <= budget
                ):
                    gain = self._worth[name][width + step] - self._worth[name][width]
                    fitting[name] = gain / cost
            if not fitting:
                return
            name = max(fitting, key=lambda name: fitting[name])
            self.apply({name: self.widths[name] + step})

    def plan(self) -> Plan:
        """What the search has come to."""
        keep = {
            name: sorted(int(i) for i in self._order[name][:width])
            for name, width in self.widths.items()
            if width != self._groups[name].channels
        }
        return Plan(keep, dict(self.widths), self._total() / self.dense_cost)


@dataclass(frozen=True)
class Term:
    """``factor`` times the widths of ``groups``: a convolution has two, the first layer one."""

    groups: tuple[str, ...]
    factor: float

    def value(self, widths: Mapping[str, int]) -> float:
        """The cost at these widths."""
        return self.factor * math.prod([widths[group] for group in self.groups])


def cost_terms(
    groups: Mapping[str, Group],
    layer_costs: Mapping[str, float],
    channel_costs: Mapping[str, float] | None = None,
) -> list[Term]:
    """Terms whose sum at the present widths is that of all costs.

    Args:
        groups: of the network as it is.
        layer_costs: what each convolution and classifier costs now (multiply-accumulates,
            parameters, milliseconds); an add, ``layer1.0.add``, costs in proportion to its stream.
        channel_costs: what each costs beside that in proportion to its own channels alone, as the
            parameters of a normalization; of the classifier, whose outputs stay, a constant.
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
    for layer, cost in (channel_costs or {}).items():
        if (name := made_by.get(layer)) is None:
            terms.append(Term((), cost))
        else:
            terms.append(Term((name,), cost / groups[name].channels))
    return terms
