"""Criteria against their formulas, computed another way."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.pruning.criteria import CRITERIA, Evidence
from edgeresnet.host.pruning.groups import groups_of
from edgeresnet.host.pruning.scoring import gate_gradients
from tests.host.pruning.networks import random_network

WIDTHS = Widths(8, (8, 16, 16, 16), (((8,), (8,)),) * 4)


class Gate(nn.Module):
    """What the Taylor criterion imagines: a factor of 1 for each channel."""

    def __init__(self, norm: nn.Module, channels: int) -> None:
        super().__init__()
        self.norm = norm
        self.gate = nn.Parameter(torch.ones(channels, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * self.gate[:, None, None]


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(6, 3, 16, 16, generator=generator, dtype=torch.float64),
            torch.randint(0, 10, (6,), generator=generator),
        )
        for _ in range(3)
    ]


def test_taylor_equals_the_gradient_of_shared_gates() -> None:
    """One gate for the whole residual stream, differentiated by autograd itself."""
    model = random_network("resnet18", widths=WIDTHS)
    gates = gate_gradients(model, batches())
    group = groups_of("resnet18", WIDTHS)["layer2"]
    found = CRITERIA["taylor"].importance(group, Evidence(model.state_dict(), gates))
    shared = Gate(nn.Identity(), group.channels).gate
    for norm in group.norms:
        parent, _, name = norm.rpartition(".")
        gated = Gate(model.get_submodule(norm), group.channels)
        gated.gate = shared
        setattr(model.get_submodule(parent), name, gated)
    expected = torch.zeros(group.channels, dtype=torch.float64)
    for x, y in batches():
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y), [shared])
        expected += gradient.square() / 3
    assert torch.allclose(found, expected, rtol=1e-5)


def test_gate_gradients_are_the_same_when_parameters_are_frozen() -> None:
    model = random_network("resnet18", widths=WIDTHS)
    expected = gate_gradients(model, batches())
    model.requires_grad_(False)
    found = gate_gradients(model, batches())
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(p.requires_grad for p in model.parameters())


def test_magnitudes_sum_over_coupled_producers() -> None:
    model = random_network("resnet18", widths=WIDTHS)
    weights = {n: t.float() for n, t in model.state_dict().items()}
    group = groups_of("resnet18", WIDTHS)["layer1"]
    assert group.producers == ("conv1", "layer1.0.conv2", "layer1.1.conv2")
    filters = torch.cat([weights[f"{p}.weight"].flatten(1) for p in group.producers], 1)
    evidence = Evidence(weights)
    assert torch.allclose(CRITERIA["l1"].score(group, evidence), filters.norm(1, dim=1))
    assert torch.allclose(CRITERIA["l2"].score(group, evidence), filters.norm(2, dim=1))
    scales = sum(weights[f"{norm}.weight"].abs() for norm in group.norms)
    assert torch.allclose(CRITERIA["bn_scale"].score(group, evidence), torch.as_tensor(scales))


def test_fpgm_equals_scipys_distances() -> None:
    weights = random_network("resnet18", widths=WIDTHS).state_dict()
    group = groups_of("resnet18", WIDTHS)["layer3"]
    expected = sum(
        cdist(f := weights[f"{p}.weight"].flatten(1).numpy(), f).sum(1) for p in group.producers
    )
    found = CRITERIA["fpgm"].score(group, Evidence(weights))
    assert torch.allclose(found.double(), torch.as_tensor(expected), rtol=1e-4)


@pytest.fixture(scope="module")
def evidence_of_resnet50() -> Evidence:
    model = random_network("resnet50")
    return Evidence(model.state_dict(), gate_gradients(model, batches()[:1]), seed=3)


@pytest.mark.parametrize("name", [*CRITERIA])
def test_criterion_gives_one_finite_score_a_channel(
    name: str, evidence_of_resnet50: Evidence
) -> None:
    evidence = evidence_of_resnet50
    for group in groups_of("resnet50", Widths.dense("resnet50")).values():
        scores = CRITERIA[name].importance(group, evidence)
        assert scores.shape == (group.channels,)
        assert bool(torch.isfinite(scores).all())
        assert bool((scores >= 0).all())
        if not CRITERIA[name].of_loss:
            assert float(scores.mean()) == pytest.approx(1)


def test_random_is_drawn_anew_for_each_seed_and_group() -> None:
    groups = groups_of("resnet18", WIDTHS)
    draws = [
        CRITERIA["random"].score(groups[name], Evidence({}, {}, seed)).tolist()
        for name, seed in (("layer1.0.conv1", 0), ("layer1.0.conv1", 1), ("layer1.1.conv1", 0))
    ]
    assert len({tuple(draw) for draw in draws}) == 3
