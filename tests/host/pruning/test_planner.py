"""Plans keep budget, step and floor, and lose as little as an exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.host.models.resnet import Widths, undrawn_resnet
from edgeresnet.host.pruning.cut_to_budget import parameter_costs
from edgeresnet.host.pruning.groups import Group, groups_of, has_downsample, with_widths
from edgeresnet.host.pruning.planner import (
    Limits,
    Plan,
    Term,
    cost_terms,
    narrowest_share,
    plan_widths,
)
from edgeresnet.settings.inputs import InputSpec
from tests.host.pruning.networks import DEPTHS


def macs(arch: str, widths: Widths, stem: str = "imagenet", size: int = 64) -> dict[str, float]:
    layers = count_layers(undrawn_resnet(arch, 10, stem, widths), size)
    return {layer.name: float(layer.macs) for layer in layers}


def random_importance(groups: dict[str, Group]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(g.channels, generator=generator) for name, g in groups.items()}


def plan_half(arch: str, share: float = 0.5, step: int = 16, *, blocks: bool = False) -> Plan:
    widths = Widths.dense(arch)
    groups = groups_of(arch, widths)
    removable = frozenset(
        g.block for g in groups.values() if blocks and g.block and not has_downsample(arch, g.block)
    )
    terms = cost_terms(groups, macs(arch, widths))
    limits = Limits.of(groups, step, 0.125, removable)
    return plan_widths(groups, random_importance(groups), terms, share, limits)


@pytest.mark.parametrize("arch", DEPTHS)
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_plan_keeps_budget_step_and_floor(arch: str, share: float) -> None:
    plan = plan_half(arch, share)
    dense = Widths.dense(arch)
    groups = groups_of(arch, dense)
    for name, width in plan.widths.items():
        assert width % 16 == 0
        assert 0.124 * groups[name].channels <= width <= groups[name].channels
        assert len(plan.keep.get(name, range(groups[name].channels))) == width
    real = sum(macs(arch, with_widths(arch, dense, plan.widths)).values())
    reached = real / sum(macs(arch, dense).values())
    assert reached == pytest.approx(plan.cost, rel=1e-6)
    # The first layer's input and rounding to the step leave a little of the budget.
    assert 0.97 * share <= reached <= share


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_plan_keeps_a_share_of_all_parameters_exactly(arch: str) -> None:
    dense, groups = Widths.dense(arch), groups_of(arch, Widths.dense(arch))
    model = undrawn_resnet(arch, 1000)
    checkpoint = Checkpoint(
        arch, "imagenet", dense, tuple(map(str, range(1000))), InputSpec(), model.state_dict()
    )
    costs = parameter_costs(count_layers(model, 64), checkpoint)
    terms = cost_terms(groups, *costs)
    counted = sum(p.numel() for p in model.parameters())
    plan = plan_widths(groups, random_importance(groups), terms, 0.5, Limits.of(groups, 8, 0.125))
    narrow = undrawn_resnet(arch, 1000, "imagenet", with_widths(arch, dense, plan.widths))
    left = sum(p.numel() for p in narrow.parameters())
    assert left <= 0.5 * counted
    assert plan.cost == pytest.approx(left / counted, rel=1e-9)


def test_plan_keeps_the_best_channels_of_each_group() -> None:
    plan = plan_half("resnet18")
    importance = random_importance(groups_of("resnet18", Widths.dense("resnet18")))
    for name, kept in plan.keep.items():
        gone = sorted(set(range(len(importance[name]))) - set(kept))
        assert kept == sorted(kept)
        assert importance[name][kept].min() >= importance[name][gone].max()


def test_plan_cuts_dead_channels_first_when_their_importance_is_zero() -> None:
    groups = groups_of("resnet18", Widths.dense("resnet18"))
    importance = random_importance(groups)
    importance["layer4"][:] = 0
    terms = cost_terms(groups, macs("resnet18", Widths.dense("resnet18")))
    plan = plan_widths(groups, importance, terms, 0.85, Limits.of(groups, 16, 0.125))
    assert plan.widths["layer4"] < 512
    assert all(plan.widths[name] == g.channels for name, g in groups.items() if name != "layer4")


def test_plan_removes_blocks_where_they_are_worth_least() -> None:
    arch = "resnet50"
    groups = groups_of(arch, Widths.dense(arch))
    importance = random_importance(groups)
    for name in ("layer3.2.conv1", "layer3.2.conv2"):
        importance[name] *= 1e-6
    removable = frozenset({"layer3.2", "layer3.3"})
    terms = cost_terms(groups, macs(arch, Widths.dense(arch)))
    limits = Limits.of(groups, 16, 0.125, removable)
    plan = plan_widths(groups, importance, terms, 0.9, limits)
    assert plan.keep["layer3.2.conv1"] == plan.keep["layer3.2.conv2"] == []
    assert plan.widths["layer3.3.conv1"] > 0
    assert with_widths(arch, Widths.dense(arch), plan.widths).inner[2][2] == ()


def test_plan_goes_below_the_floor_only_by_removing_blocks() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        plan_half("resnet50", 0.016)
    plan = plan_half("resnet50", 0.016, blocks=True)
    assert plan.cost <= 0.016


def test_plan_equals_exhaustive_search_when_the_network_is_small() -> None:
    """Two groups with a shared term, so that one's saving depends on the other's width."""
    groups = {name: Group(name, (name,), (f"{name}.bn",), (), 8) for name in ("a", "b")}
    generator = np.random.default_rng(1)
    worse = 0.0
    for _ in range(20):
        importance = {n: torch.from_numpy(generator.random(8)) for n in groups}
        terms = [Term(("a",), 3.0), Term(("a", "b"), 1.0), Term(("b",), 2.0)]
        limits = Limits.of(groups, 1, 0.0)
        dense = sum(t.value({"a": 8, "b": 8}) for t in terms)
        plan = plan_widths(groups, importance, terms, 0.5, limits)
        worth = {n: np.cumsum(np.sort(v.numpy())[::-1]) for n, v in importance.items()}

        def value(widths: dict[str, int], worth: dict[str, np.ndarray] = worth) -> float:
            return float(sum(worth[n][w - 1] for n, w in widths.items()))

        best = max(
            value({"a": a, "b": b})
            for a, b in itertools.product(range(1, 9), repeat=2)
            if sum(t.value({"a": a, "b": b}) for t in terms) <= 0.5 * dense
        )
        assert plan.cost <= 0.5
        worse = max(worse, 1 - value(plan.widths) / best)
    assert worse <= 0.05


def test_cost_terms_sum_to_the_layers_costs() -> None:
    arch = "resnet34"
    dense = Widths.dense(arch)
    groups = groups_of(arch, dense)
    costs = macs(arch, dense)
    terms = cost_terms(groups, {**costs, "layer1.0.add": 5.0, "unknown": 7.0})
    channels = {name: group.channels for name, group in groups.items()}
    assert sum(t.value(channels) for t in terms) == pytest.approx(sum(costs.values()) + 5.0)
    assert Term(("layer1",), 5.0 / 64) in terms


def test_limits_refuse_a_step_that_is_wider_than_a_group() -> None:
    groups = groups_of("resnet18", Widths.dense("resnet18"))
    with pytest.raises(InputError, match="width step of 100 is wider than layer1"):
        Limits.of(groups, 100, 0.125)


def test_plan_aligns_widths_when_the_checkpoint_was_pruned_to_odd_ones() -> None:
    arch = "resnet18"
    odd = Widths(
        61, (61, 125, 251, 509), (((50,), (61,)), ((99,), (128,)), ((200,),) * 2, ((512,),) * 2)
    )
    groups = groups_of(arch, odd)
    terms = cost_terms(groups, macs(arch, odd))
    limits = Limits.of(groups, 16, 0.125)
    plan = plan_widths(groups, random_importance(groups), terms, 0.9, limits)
    assert all(width % 16 == 0 for width in plan.widths.values())
    assert narrowest_share(groups, terms, limits) < 0.1
