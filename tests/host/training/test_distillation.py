"""What a network in training learns from a teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import LEVELS
from edgeresnet.host.training.distillation import Teacher, distillation_loss, feature_loss
from edgeresnet.host.training.step import Learner, TrainHooks
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import TrainOptions
from tests.blobs import CPU
from tests.somebody_elses import Hidden, network_of

FEATURES = TrainOptions(
    epochs=1, lr=0.02, distill=1.0, distill_features=100.0, label_smoothing=0.0, ema=0.5
)


def small(seed: int, channels: int = 8) -> torch.nn.Module:
    torch.manual_seed(seed)
    return network_of(Hidden("resnet18", "small"), channels)


def test_distillation_loss_equals_the_formula_when_computed_in_numpy() -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 5, 4))

    def softmax(x: Any) -> Any:
        e = np.exp(x / 3.0)
        return e / e.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    expected = (p * np.log(p / q)).sum(1).mean() * 9
    ours = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), 3.0)
    assert ours.item() == pytest.approx(expected, rel=1e-9)


def test_feature_loss_equals_the_formula_when_computed_in_numpy() -> None:
    generator = np.random.default_rng(1)
    shapes = [(2, 4, 6, 6), (2, 8, 3, 3)]
    own = [generator.normal(size=shape) for shape in shapes]
    wanted = [100**i * generator.normal(size=shape) for i, shape in enumerate(shapes)]
    expected = np.mean(
        [((o - w) ** 2).sum() / (w**2).sum() for o, w in zip(own, wanted, strict=True)]
    )
    ours = feature_loss(*([torch.from_numpy(x) for x in side] for side in (own, wanted)))
    assert ours.item() == pytest.approx(expected, rel=1e-5)


def test_feature_loss_is_finite_when_a_level_is_all_zero() -> None:
    zeros = [torch.zeros(1, 2, 3, 3)]
    assert feature_loss(zeros, zeros).item() == 0


def test_feature_loss_refuses_when_channels_differ() -> None:
    with pytest.raises(InputError, match="16 channels where the network in training has 8"):
        feature_loss([torch.ones(1, 8, 2, 2)], [torch.ones(1, 16, 2, 2)])


def distance(student: torch.nn.Module, teacher: torch.nn.Module, images: torch.Tensor) -> float:
    """Of the levels, by a way of its own: each level run on what the one before it gave."""
    far = []
    with torch.no_grad():
        outputs = []
        for model in (student.eval(), teacher.eval()):
            x = model.maxpool(model.relu(model.bn1(model.conv1(images))))  # type: ignore[operator]
            levels = []
            for name in LEVELS:
                x = model.get_submodule(name)(x)
                levels.append(x)
            outputs.append(levels)
        for own, wanted in zip(*outputs, strict=True):
            far.append(float((own - wanted).square().sum() / wanted.square().sum()))
    return float(np.mean(far))


@pytest.mark.parametrize("weight", [0.0, 100.0])
def test_step_brings_the_levels_nearer_only_when_features_have_a_weight(weight: float) -> None:
    student, teacher = small(0), small(1)
    images, labels = torch.randn(16, 3, 16, 16), torch.zeros(16, dtype=torch.int64)
    teacher_before = {k: v.clone() for k, v in teacher.state_dict().items()}
    options = replace(FEATURES, distill_features=weight)
    learner = Learner(student, options, 20, CPU, TrainHooks(teacher=teacher))
    before = distance(student, teacher, images)
    for _ in range(20):
        learner.step(images, labels)
    after = distance(student, teacher, images)
    assert (after < 0.6 * before) == (weight > 0)
    assert all(torch.equal(v, teacher_before[k]) for k, v in teacher.state_dict().items())
    for model in (student, teacher, learner.result):
        assert not any(module._forward_hooks for module in model.modules())


def test_teacher_loss_is_zero_when_both_are_one_network() -> None:
    model = small(0).eval()
    images = torch.randn(4, 3, 16, 16)
    teacher = Teacher(model, temperature=2.0, features=1.0)
    with teacher.watching(model):
        logits = model(images)
    loss, answers = teacher.loss(logits, images)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert answers.tolist() == logits.argmax(1).tolist()


def test_options_refuse_features_when_nobody_teaches_them() -> None:
    with pytest.raises(InputError, match="distill_features 1 would have no effect"):
        TrainOptions(distill_features=1.0)
    with pytest.raises(InputError, match="pruning removes the channels"):
        PruneOptions(macs=0.5, train=replace(TrainOptions(), distill=1.0, distill_features=1.0))


def test_to_dict_says_no_features_when_they_have_no_weight() -> None:
    # Keys of stages that older versions made stay what they were.
    assert "distill_features" not in TrainOptions().to_dict()
    assert "distill_features" not in QuantizeOptions(method="qat").to_dict()["train"]
    assert FEATURES.to_dict()["distill_features"] == 100
