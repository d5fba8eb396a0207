"""From options and scores to a narrower network that keeps the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edgeresnet.closing import Closing
from edgeresnet.device.machine.width_steps import width_step
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.layer_counts import LayerInfo, count_layers
from edgeresnet.host.pruning.criteria import CRITERIA, Evidence
from edgeresnet.host.pruning.groups import Group, groups_of, has_downsample
from edgeresnet.host.pruning.latency_budget import fit_latency
from edgeresnet.host.pruning.planner import Limits, Term, cost_terms, narrowest_share, plan_widths
from edgeresnet.host.pruning.slicing import slice_weights
from edgeresnet.host.quantization.latency_probe import LatencyProbe, Place
from edgeresnet.progress import OnStep
from edgeresnet.settings.pruning import PruneOptions


@dataclass(frozen=True)
class Shape:
    """A network cut to a budget, not recovered.

    Attributes:
        share: of the dense network's cost that was asked for.
        step: of which widths are multiples.
        figures: for a latency budget what was measured.
    """

    checkpoint: Checkpoint
    share: float
    step: int
    figures: dict[str, Any]


class Shaper(Closing):
    """Cuts networks to a budget; a context manager, because measuring keeps files.

    Args:
        dense: the network that budgets are shares of.
        options: budget, limits, and where to measure.
        on_step: told what was measured.
    """

    def __init__(self, dense: Checkpoint, options: PruneOptions, on_step: OnStep) -> None:
        self._options = options
        self._stack = ExitStack()
        self._probe: LatencyProbe | None = None
        self._share: float | None = None
        device = options.device or target_of(options.target).spec.default_device
        self.step = options.step or width_step(options.target, device)
        groups = groups_of(dense.arch, dense.widths)
        removable = {g.block for g in groups.values() if g.block} if options.remove_blocks else ()
        self._limits = Limits.of(
            groups,
            self.step,
            options.floor,
            frozenset(block for block in removable if not has_downsample(dense.arch, block)),
        )
        share, channel_costs = options.macs or options.parameters, dict[str, float]()
        if share is not None:
            self._share = share
            counted = count_layers(dense.build(), dense.input_spec.image_size)
            if options.macs:
                costs = {layer.name: float(layer.macs) for layer in counted}
            else:
                costs, channel_costs = parameter_costs(counted, dense)
        else:
            on_step(f"measuring the dense network in INT8 on {options.target}")
            place = Place(options.target, device, options.threads)
            probe = LatencyProbe(dense, place, on_step, alone=options.latency_ms is not None)
            with self._stack:
                self._probe = self._stack.enter_context(probe)
                costs = self._probe.layer_costs()
                # From here on leaving this context manager closes it.
                self._stack = self._stack.pop_all()
        self._terms = cost_terms(groups, costs, channel_costs)
        self._dense_cost = _cost(groups, self._terms)
        self._smallest_share = narrowest_share(groups, self._terms, self._limits)

    def close(self) -> None:
        """Give back what is held."""
        self._stack.close()

    def shape(self, current: Checkpoint, evidence: Evidence, iteration: int) -> Shape:
        """Cut to this iteration's part of the budget; the last one's is all of it.

        The cost falls by the same factor in every iteration.
        """
        options = self._options
        last = iteration == options.iterations
        figures: dict[str, Any] = {}
        if self._probe is not None and (last or self._share is None):
            cut, self._share, figures = self._measured(self._probe, current, evidence)
            if last:
                return Shape(cut, self._share, self.step, figures)
        assert self._share is not None
        share = self._share ** (iteration / options.iterations)
        cut = self.at_share(current, evidence, options.criterion, share)
        return Shape(cut, share, self.step, figures)

    def at_share(
        self, current: Checkpoint, evidence: Evidence, criterion: str, share: float
    ) -> Checkpoint:
        """Cut ``current`` to a share of the dense network's cost."""
        groups = groups_of(current.arch, current.widths)
        terms = [term for term in self._terms if all(name in groups for name in term.groups)]
        rule = CRITERIA[criterion]
        importance = {name: rule.importance(group, evidence) for name, group in groups.items()}
        own_share = share * self._dense_cost / _cost(groups, terms)
        plan = plan_widths(groups, importance, terms, own_share, self._limits)
        widths, weights = slice_weights(current.state_dict, current.arch, current.widths, plan.keep)
        return replace(current, widths=widths, state_dict=weights)

    def _measured(
        self, probe: LatencyProbe, current: Checkpoint, evidence: Evidence
    ) -> tuple[Checkpoint, float, dict[str, Any]]:
        """Cut as little as keeps the latency budget, by measuring whole networks."""
        options = self._options
        figures: dict[float, tuple[float, float]] = {}

        def load_of(share: float, cut: Checkpoint) -> float:
            own, dense = figures[share] = probe.measure(cut)
            return _latency_load(options, own, dense)

        cut, share, trials = fit_latency(
            lambda share: self.at_share(current, evidence, options.criterion, share),
            load_of,
            self._dense_load(probe),
            self._smallest_share,
        )
        own_ms, dense_ms = figures[share]
        told = {"latency_ms": own_ms, "latency_dense_ms": dense_ms, "measurements": len(trials)}
        return cut, share, told

    def _dense_load(self, probe: LatencyProbe) -> float:
        """The dense network's latency as a share of the budget, above 1."""
        options = self._options
        dense_ms = probe.dense_ms
        load = _latency_load(options, dense_ms, dense_ms)
        if load <= 1:
            raise InputError(
                f"the dense network takes {dense_ms:.3f} ms in INT8 on {options.target}, which "
                f"keeps the budget of {options.latency_ms:g} ms: there is nothing to prune",
                f"give a budget below {dense_ms:.3g} ms.",
            )
        return load


def parameter_costs(
    layers: Sequence[LayerInfo], checkpoint: Checkpoint
) -> tuple[dict[str, float], dict[str, float]]:
    """Of each layer the weights of its kernels, and its other parameters, which go by channels."""
    kernels = {
        layer.name: float(checkpoint.state_dict[f"{layer.name}.weight"].numel()) for layer in layers
    }
    return kernels, {layer.name: layer.parameters - kernels[layer.name] for layer in layers}


def _latency_load(options: PruneOptions, own_ms: float, dense_ms: float) -> float:
    """A latency as a share of the budget."""
    if options.latency_ms is not None:
        return own_ms / options.latency_ms
    assert options.latency is not None
    return own_ms / dense_ms / options.latency


def _cost(groups: Mapping[str, Group], terms: Sequence[Term]) -> float:
    channels = {name: group.channels for name, group in groups.items()}
    return sum(term.value(channels) for term in terms)
