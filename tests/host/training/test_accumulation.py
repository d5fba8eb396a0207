"""A step's images computed in parts, and in reduced precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.errors import InputError
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.training.fit import TrainResult, fit
from edgeresnet.host.training.memory import training_bytes
from edgeresnet.host.training.step import Learner, TrainHooks
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import TrainOptions
from tests.blobs import CPU, SHORT, SPEC, blobs

PLAIN = replace(SHORT, epochs=1, batch_size=16, augment="none", ema=0.5, warmup=0.0)


def frozen_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        FrozenBatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 2),
    )


def learned(options: TrainOptions, images: int = 16, steps: int = 3) -> tuple[Learner, list[float]]:
    """A network after some steps, and their losses."""
    options = replace(options, distill=0.5)
    torch.manual_seed(1)
    hooks = TrainHooks(teacher=nn.Sequential(nn.Flatten(), nn.Linear(192, 2)))
    learner = Learner(frozen_network(), options, 10, CPU, hooks)
    data = blobs("train", images)
    batch = torch.from_numpy(normalize(data.pixels, SPEC)), torch.from_numpy(data.labels)
    told = [learner.step(*batch) for _ in range(steps)]
    assert all(0 <= int(hits) <= images for _, hits in told)
    return learner, [float(loss) for loss, _ in told]


def weights(learner: Learner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.result.parameters()])


@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_four_parts_learn_as_one_batch_of_all_when_normalization_is_frozen(
    clip_norm: float | None,
) -> None:
    whole, losses = learned(replace(PLAIN, clip_norm=clip_norm))
    parts, losses_of_parts = learned(replace(PLAIN, clip_norm=clip_norm, accumulate=4))
    assert losses_of_parts == pytest.approx(losses, abs=1e-5)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=0)
    few, _ = learned(replace(PLAIN, clip_norm=clip_norm), images=4)
    assert (weights(few) - weights(whole)).abs().max() > 1e-4


def test_step_sizes_of_activations_learn_as_of_the_whole_batch() -> None:
    data = blobs("train", 16)
    batch = torch.from_numpy(normalize(data.pixels, SPEC)), torch.from_numpy(data.labels)
    scales = []
    for parts in (1, 4):
        torch.manual_seed(0)
        widths = Widths(8, (8, 8, 8, 8), (((8,), (8,)),) * 4)
        model = QuantResNet(build_resnet("resnet18", 2, "small", widths))
        calibrate(model, [batch[0]], "minmax")
        plain = replace(PLAIN, accumulate=parts, momentum=0.0, lr=1e-3, ema=0.0)
        Learner(model, plain, 10, CPU).step(*batch)
        scales.append(torch.stack([q.scale.detach().mean() for q in model.quantizers().values()]))
    torch.testing.assert_close(scales[1], scales[0], rtol=1e-5, atol=1e-7)


def test_uneven_parts_weigh_by_their_images() -> None:
    whole, losses = learned(PLAIN, images=15)
    parts, losses_of_parts = learned(replace(PLAIN, accumulate=4), images=15)
    assert losses_of_parts == pytest.approx(losses, abs=1e-5)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=0)


def test_no_part_has_one_image_when_the_last_batch_is_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    original = Learner._learn

    def learn(self: Learner, images: Tensor, *given: Any, **more: Any) -> Any:
        seen.append(len(images))
        return original(self, images, *given, **more)

    monkeypatch.setattr(Learner, "_learn", learn)
    learned(replace(PLAIN, accumulate=8), images=5, steps=1)
    assert seen == [3, 2]


def test_accumulate_is_refused_when_parts_would_have_one_image() -> None:
    with pytest.raises(InputError, match="accumulate 5 of batch_size 8 leaves parts of one image"):
        TrainOptions(batch_size=8, accumulate=5)


def test_parts_take_less_memory_than_the_whole() -> None:
    with torch.device("meta"):
        model = build_resnet("resnet18", 10, "small")
    options = TrainOptions(batch_size=64)
    whole, half = (
        training_bytes(model, options, 32),
        training_bytes(model, replace(options, batch_size=32), 32),
    )
    assert training_bytes(model, replace(options, accumulate=2), 32) == half < whole


def test_keys_of_older_runs_stay_when_nothing_new_is_said() -> None:
    assert not {"accumulate", "deterministic"} & set(TrainOptions().to_dict())
    assert TrainOptions(accumulate=2).to_dict()["accumulate"] == 2
    assert "accumulate" not in repr(TrainOptions())


def on_digits(options: TrainOptions) -> TrainResult:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 64, 10),
    )  # fmt: skip
    data = open_dataset("digits", "train"), open_dataset("digits", "val")
    return fit(model, *data, InputSpec(16), options, progress=False)


def test_bf16_reaches_the_float_accuracy_on_digits() -> None:
    options = TrainOptions(epochs=3, batch_size=64, lr=0.1, augment="none", accumulate=2)
    full, half = on_digits(options), on_digits(replace(options, precision="bf16"))
    n = len(open_dataset("digits", "val"))
    low, _ = wilson(round(full.top1 * n), n)
    assert full.top1 > 0.9
    assert half.top1 >= low
    # It did compute in another precision.
    assert not np.isclose(half.history[0]["loss"], full.history[0]["loss"], rtol=1e-6)
    assert {tensor.dtype for tensor in half.state_dict.values()} == {torch.float32, torch.int64}


@pytest.mark.gpu
def test_fp16_with_its_scaler_reaches_the_float_accuracy_on_digits() -> None:
    options = TrainOptions(epochs=3, batch_size=64, lr=0.1, augment="none", accumulate=2)
    full, half = on_digits(options), on_digits(replace(options, precision="fp16"))
    n = len(open_dataset("digits", "val"))
    low, _ = wilson(round(full.top1 * n), n)
    assert half.top1 >= low


def test_deterministic_asks_torch_for_it_while_training_and_not_longer() -> None:
    seen: list[bool] = []
    hooks = TrainHooks(
        on_epoch=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    options = replace(PLAIN, deterministic=True)
    fit(frozen_network(), blobs("train"), blobs("val"), SPEC, options, hooks=hooks, progress=False)
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()
