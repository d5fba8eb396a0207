"""Slicing equals masking, and equals what torch-pruning makes of the same channels."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import nn

from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.pruning.groups import groups_of, has_downsample, with_widths
from edgeresnet.host.pruning.slicing import slice_weights
from tests.host.pruning.networks import DEPTHS, images, mask_channels, random_keep, random_network

EXACT = 1e-5


def sliced_network(model: nn.Module, arch: str, stem: str, keep: dict[str, list[int]]) -> nn.Module:
    widths, weights = slice_weights(model.state_dict(), arch, Widths.dense(arch), keep)
    narrow = build_resnet(arch, 10, stem, widths).double().eval()
    narrow.load_state_dict(weights)
    return narrow


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


# A ResNet-34 has a ResNet-18's blocks, more of them.
EACH = [
    pytest.param(arch, marks=pytest.mark.slow) if arch == "resnet34" else arch for arch in DEPTHS
]


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize("arch", EACH)
def test_sliced_network_equals_the_masked_one(arch: str, stem: str) -> None:
    model = random_network(arch, stem)
    keep = random_keep(groups_of(arch, Widths.dense(arch)))
    narrow = sliced_network(model, arch, stem, keep)
    mask_channels(model, keep, arch, Widths.dense(arch))
    batch = images()
    with torch.inference_mode():
        expected, found = model(batch), narrow(batch)
    assert float(expected.std()) > 0
    assert relative(found, expected) <= EXACT
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("arch", EACH)
def test_sliced_network_equals_torch_prunings_when_the_same_channels_stay(arch: str) -> None:
    model = random_network(arch)
    groups = groups_of(arch, Widths.dense(arch))
    keep = random_keep(groups)
    narrow = sliced_network(model, arch, "small", keep)
    theirs = copy.deepcopy(model)
    graph = tp.DependencyGraph().build_dependency(theirs, images(count=1))
    for name, group in groups.items():
        gone = sorted(set(range(group.channels)) - set(keep[name]))
        conv = theirs.get_submodule(group.producers[0])
        graph.get_pruning_group(conv, tp.prune_conv_out_channels, idxs=gone).prune()
    batch = images()
    with torch.inference_mode():
        assert relative(narrow(batch), theirs(batch)) <= 1e-12


@pytest.mark.parametrize("arch", EACH)
def test_groups_are_torch_prunings(arch: str) -> None:
    """Every convolution's output is in one group, and couples with the same convolutions."""
    model = random_network(arch)
    graph = tp.DependencyGraph().build_dependency(model, images(count=1))
    names = {module: name for name, module in model.named_modules()}
    groups = groups_of(arch, Widths.dense(arch))
    produced = [p for group in groups.values() for p in group.producers]
    convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert sorted(produced) == sorted(convolutions)
    for group in groups.values():
        conv = model.get_submodule(group.producers[0])
        theirs = graph.get_pruning_group(conv, tp.prune_conv_out_channels, idxs=[0])
        outs, ins = set(), set()
        for dependency, _ in theirs:
            name = names.get(dependency.target.module)
            if dependency.handler == tp.prune_conv_out_channels:
                outs.add(name)
            elif dependency.handler in (tp.prune_conv_in_channels, tp.prune_linear_in_channels):
                ins.add(name)
        assert outs == set(group.producers), group.name
        assert ins == set(group.consumers), group.name


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_removed_block_leaves_its_skip_connection(arch: str) -> None:
    model = random_network(arch)
    groups = groups_of(arch, Widths.dense(arch))
    gone = [g.name for g in groups.values() if g.block in ("layer1.1", "layer3.1")]
    narrow = sliced_network(model, arch, "small", {name: [] for name in gone})
    for block in ("layer1.1", "layer3.1"):
        stage, place = block.split(".")
        model.get_submodule(stage)[int(place)] = nn.Identity()
    batch = images()
    with torch.inference_mode():
        assert relative(narrow(batch), model(batch)) <= 1e-12


def test_removal_and_narrower_streams_go_together() -> None:
    model = random_network("resnet18")
    groups = groups_of("resnet18", Widths.dense("resnet18"))
    keep = {**random_keep(groups), "layer2.1.conv1": []}
    narrow = sliced_network(model, "resnet18", "small", keep)
    model.layer2[1] = nn.Identity()
    kept = {name: k for name, k in keep.items() if name != "layer2.1.conv1"}
    widths = with_widths("resnet18", Widths.dense("resnet18"), {"layer2.1.conv1": 0})
    mask_channels(model, kept, "resnet18", widths)
    batch = images()
    with torch.inference_mode():
        assert relative(narrow(batch), model(batch)) <= EXACT


def test_pruned_network_can_be_pruned_again() -> None:
    arch = "resnet50"
    model = random_network(arch)
    first = random_keep(groups_of(arch, Widths.dense(arch)), seed=1)
    widths, weights = slice_weights(model.state_dict(), arch, Widths.dense(arch), first)
    second = random_keep(groups_of(arch, widths), seed=2)
    final, twice = slice_weights(weights, arch, widths, second)
    at_once = {name: [first[name][i] for i in second[name]] for name in first}
    expected_widths, expected = slice_weights(model.state_dict(), arch, Widths.dense(arch), at_once)
    assert final == expected_widths
    assert all(torch.equal(twice[name], expected[name]) for name in expected)


def test_has_downsample_is_true_only_where_there_is_one() -> None:
    for arch in ("resnet18", "resnet50"):
        model = build_resnet(arch, 10)
        for stage in range(1, 5):
            for place, block in enumerate(model.get_submodule(f"layer{stage}").children()):
                expected = block.downsample is not None
                assert has_downsample(arch, f"layer{stage}.{place}") == expected
