"""One step of training: its schedule, its loss and its arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.errors import InputError
from edgeresnet.host.training.step import (
    Learner,
    default_param_groups,
    lr_factor,
)
from edgeresnet.settings.training import TrainOptions
from tests.blobs import CPU, SHORT, SPEC, blobs, network


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"batch_size": 1}, "batch_size 1"),
        ({"lr": 0.0}, "lr 0"),
        ({"lr": float("nan")}, "lr nan"),
        ({"optimizer": "adam"}, "optimizer adam"),
        ({"augment": "heavy"}, "augment heavy"),
        ({"precision": "int8"}, "precision int8"),
        ({"ema": 1.0}, "ema 1"),
        ({"warmup": -0.1}, "warmup -0.1"),
        ({"patience": 0}, "patience 0"),
        ({"validate_every": 0}, "validate_every 0"),
        ({"clip_norm": 0.0}, "clip_norm 0"),
        ({"distill": 1.5}, "distill 1.5"),
        ({"workers": -1}, "workers -1"),
    ],
)
def test_train_options_name_the_setting_when_it_is_wrong(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        TrainOptions(**changes)


def test_lr_factor_rises_then_falls_when_steps_pass() -> None:
    factors = [lr_factor(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert lr_factor(0, 100, 0.0) == 1.0


def test_default_param_groups_spare_one_dimensional_parameters_when_decaying() -> None:
    model = network()
    model.get_parameter("1.weight").requires_grad_(False)
    decayed, spared = default_param_groups(model, SHORT)
    assert {tuple(p.shape) for p in decayed["params"]} == {(8, 3, 3, 3), (2, 32)}
    assert sorted(tuple(p.shape) for p in spared["params"]) == [(2,), (8,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (SHORT.weight_decay, 0.0)


def one_step(**changes: Any) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Parameters before and after one plain step, and its loss."""
    plain = TrainOptions(lr=1.0, momentum=0.0, weight_decay=0.0, warmup=0.0, label_smoothing=0.0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    learner = Learner(model, replace(plain, **changes), 10, CPU)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    data = blobs("train", 8)
    images = torch.from_numpy(normalize(data.pixels, SPEC))
    loss, _ = learner.step(images, torch.from_numpy(data.labels))
    return before, {name: p.detach() for name, p in model.named_parameters()}, loss


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    return float(torch.cat([(after[k] - before[k]).flatten() for k in before]).norm())


def test_learner_step_is_gradient_descent_when_all_else_is_off() -> None:
    torch.manual_seed(0)
    before, after, loss = one_step()
    weight, bias = (before[k].clone().requires_grad_() for k in ("1.weight", "1.bias"))
    data = blobs("train", 8)
    images = torch.from_numpy(normalize(data.pixels, SPEC)).flatten(1)
    expected = F.cross_entropy(images @ weight.T + bias, torch.from_numpy(data.labels))
    torch.autograd.backward(expected)
    assert weight.grad is not None
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(after["1.weight"], before["1.weight"] - weight.grad)


def test_learner_step_is_no_longer_than_clip_norm_when_gradients_are_large() -> None:
    assert moved(*one_step()[:2]) > 0.1
    assert moved(*one_step(clip_norm=0.01)[:2]) == pytest.approx(0.01, rel=1e-3)


def test_learner_result_is_the_moving_average_when_ema_is_on() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    learner = Learner(model, replace(SHORT, ema=0.2), 10, CPU)
    data = blobs("train", 8)
    images, labels = torch.from_numpy(normalize(data.pixels, SPEC)), torch.from_numpy(data.labels)
    learner.step(images, labels)
    expected = model.get_parameter("1.weight").detach().clone()
    # The first decays are held down to (1 + n) / (10 + n).
    for decay in (2 / 11, 0.2):
        learner.step(images, labels)
        expected = decay * expected + (1 - decay) * model.get_parameter("1.weight").detach()
    torch.testing.assert_close(learner.result.get_parameter("1.weight").detach(), expected)
    assert not torch.equal(expected, model.get_parameter("1.weight"))
