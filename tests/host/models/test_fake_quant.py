"""Learned steps: what the fused passes give is what the plain ones give, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeresnet.host.models.fake_quant import FakeQuant, Kind
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.training.step import Learner
from edgeresnet.settings.training import TrainOptions
from tests.host.training.test_train_checkpoint import NARROW


def quantizer(kind: Kind, channels: int | None = None, step: float = 0.1) -> FakeQuant:
    """With a step that clips some of what is drawn from a normal distribution."""
    made = FakeQuant(kind, channels)
    with torch.no_grad():
        made.scale.mul_(step)
    return made


def plain(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """LSQ as its equations have it: rounding is passed straight through, autograd does the rest."""
    steps = (x / step).clamp(low, high)
    return (steps + (steps.round() - steps).detach()) * step


def gradients(value: Tensor, of: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(9)
    return list(torch.autograd.grad((value * torch.randn(value.shape)).sum(), of))


def close(own: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(own, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["signed", "unsigned"])
def test_an_activation_has_the_gradients_of_the_equations(
    kind: Kind, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    own = quantizer(kind, step=0.01)
    x = torch.randn(4, 6, 5, 7).to(memory_format=layout).requires_grad_()
    step = own.scale.detach().clone().requires_grad_()
    low, high = own.range
    expected = plain(x, step, low, high)
    value = own(x)
    torch.testing.assert_close(value, expected)
    balance = (x.numel() * high) ** -0.5
    wanted_x, wanted_step = gradients(expected, [x, step])
    close(gradients(value, [x, own.scale]), [wanted_x, wanted_step * balance])


def test_the_end_of_an_unsigned_grid_is_the_relu() -> None:
    torch.manual_seed(0)
    own = quantizer("unsigned", step=0.01)
    x = torch.randn(4, 6, 5, 7, requires_grad=True)
    expected = own(F.relu(x))
    value = own.after_relu(x)
    assert torch.equal(value, expected)
    close(gradients(value, [x, own.scale]), gradients(expected, [x, own.scale]))


def test_where_nothing_is_rounded_the_relu_is_there_all_the_same() -> None:
    own = quantizer("unsigned")
    own.enabled = False
    x = torch.randn(3, 4)
    assert torch.equal(own.after_relu(x), F.relu(x))


@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_a_weight_and_its_factor_are_rounded_in_one_pass(unscaled: bool, enabled: bool) -> None:
    torch.manual_seed(0)
    own = quantizer("narrow_weight", 8, step=0.03)
    own.enabled = enabled
    weight = torch.randn(8, 4, 3, 3, requires_grad=True)
    # Of either sign: training may turn a channel of a normalization round.
    factor = (torch.rand(8) + 0.5).mul(torch.tensor([1.0, -1.0] * 4)).requires_grad_()
    along = factor[:, None, None, None]
    product = own(weight * along)
    expected = product / along if unscaled else product
    value = own.of_product(weight, factor, unscaled=unscaled)
    torch.testing.assert_close(value, expected)
    given = [weight, factor, *([own.scale] * enabled)]
    close(gradients(value, given), gradients(expected, given))


def test_a_training_learns_all_steps_but_that_of_the_images() -> None:
    torch.manual_seed(0)
    model = QuantResNet(build_resnet("resnet18", 4, "small", NARROW), live_bn=True)
    images = torch.randn(4, 3, 16, 16)
    calibrate(model, [images], "minmax")
    before = {name: own.scale.detach().clone() for name, own in model.quantizers().items()}
    learner = Learner(model, TrainOptions(batch_size=4, warmup=0.0), 9, torch.device("cpu"))
    learner.step(images, torch.arange(4))
    stayed = {n for n, own in model.quantizers().items() if torch.equal(own.scale, before[n])}
    assert stayed == {"input_quant"}
    # So the first convolution has no gradient of the images to compute.
    assert not model.input_quant(images).requires_grad
