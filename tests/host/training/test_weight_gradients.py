from __future__ import annotations

import contextlib
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.host.training import weight_gradients
from edgeresnet.host.training.weight_gradients import MatmulWeightGradients


def gradients(module: nn.Module, images: Tensor, *, ours: bool) -> list[Tensor]:
    """Of the input and of every parameter, for a loss that weighs every output differently."""
    images = images.clone().requires_grad_()
    module.zero_grad()
    with MatmulWeightGradients() if ours else contextlib.nullcontext():
        output = module(images)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    found = [images.grad, *(p.grad for p in module.parameters())]
    return [g for g in found if g is not None]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "bias"),
    [
        (kernel, stride, padding, size, bias)
        for kernel, stride, padding, size, bias in itertools.product(
            (1, 3), (1, 2), (0, 1, (1, 0)), (3, 4, 5), (False, True)
        )
    ],
)
def test_gradients_equal_the_plain_ones_when_the_map_is_small(
    kernel: int, stride: int, padding: int | tuple[int, int], size: int, bias: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, kernel, stride, padding, bias=bias).double()
    images = torch.randn(3, 5, size, size, dtype=torch.float64)
    plain, ours = (gradients(conv, images, ours=way) for way in (False, True))
    assert len(plain) == len(ours) == 2 + bias
    for expected, got in zip(plain, ours, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_network_learns_the_same_when_its_last_stages_are_small() -> None:
    torch.manual_seed(0)
    network = build_resnet("resnet18", stem="imagenet", classes=4).double()
    images = torch.randn(4, 3, 40, 40, dtype=torch.float64)
    plain, ours = (gradients(network, images, ours=way) for way in (False, True))
    assert len(plain) == len(ours) == 1 + len(list(network.parameters()))
    for expected, got in zip(plain, ours, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of each weight whose gradient is a matrix product."""
    shapes: list[tuple[int, ...]] = []
    original = weight_gradients._weight_gradient

    def counted(images: Tensor, weight: Tensor, *rest: object) -> Tensor:
        shapes.append(tuple(weight.shape))
        return original(images, weight, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(weight_gradients, "_weight_gradient", counted)
    return shapes


@pytest.mark.parametrize(
    ("settings", "size", "frozen", "expected"),
    [
        ({"padding": 1}, 3, False, 1),
        ({"padding": 1}, 4, False, 0),
        ({"padding": 1}, 3, True, 0),
        ({"padding": "same"}, 3, False, 0),
        ({"padding": 1, "groups": 2}, 3, False, 0),
        ({"padding": 2, "dilation": 2}, 3, False, 0),
    ],
    ids=["small map", "large map", "frozen", "named padding", "groups", "dilation"],
)
def test_matrix_product_is_taken_only_when_it_applies(
    taken: list[tuple[int, ...]],
    settings: dict[str, int | str],
    size: int,
    frozen: bool,
    expected: int,
) -> None:
    groups = int(settings.get("groups", 1))
    weight = torch.randn(4, 4 // groups, 3, 3, requires_grad=not frozen)
    images = torch.randn(2, 4, size, size, requires_grad=True)
    with MatmulWeightGradients():
        output = F.conv2d(images, weight, **settings)  # type: ignore[call-overload]
    assert torch.equal(output, F.conv2d(images, weight, **settings))  # type: ignore[call-overload]
    output.sum().backward()
    assert len(taken) == expected


@pytest.mark.parametrize(
    ("channels", "stride", "expected"), [(4, 2, 1), (7, 2, 1), (8, 2, 0), (4, 1, 0)]
)
def test_matrix_product_is_taken_where_onednn_writes_past_its_memory(
    taken: list[tuple[int, ...]], channels: int, stride: int, expected: int
) -> None:
    """Running its own gradient there would end this process."""
    conv = nn.Conv2d(channels, 8, 1, stride, bias=False)
    images = torch.randn(8, channels, 8, 8)
    plain = gradients(conv, images, ours=False)
    assert taken == []
    for expected_one, got in zip(plain, gradients(conv, images, ours=True), strict=True):
        torch.testing.assert_close(got, expected_one)
    assert len(taken) == expected
