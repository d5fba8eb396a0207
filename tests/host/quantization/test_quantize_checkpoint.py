"""Fake quantization: the grid, its gradients, folding, calibration and training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.fake_quant import RANGES, FakeQuant
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.quantization.observers import make_observer
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import TrainOptions
from tests.host.training.test_train_checkpoint import narrow_weights


@pytest.mark.parametrize("kind", list(RANGES))
def test_fake_quant_lands_on_the_grid(kind: str) -> None:
    low, high = RANGES[kind]  # type: ignore[index]
    quantizer = FakeQuant(kind)  # type: ignore[arg-type]
    torch.nn.init.constant_(quantizer.scale, 0.03)
    x = torch.linspace(-10, 10, 4001)
    steps = (quantizer(x) / 0.03).detach()
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert (steps.min(), steps.max()) == pytest.approx((low, high), abs=1e-4)
    inside = (x >= low * 0.03) & (x <= high * 0.03)
    assert (quantizer(x) - x)[inside].abs().max() <= 0.015 + 1e-6


def test_fake_quant_gradients_equal_lsqs_when_written_out() -> None:
    quantizer = FakeQuant("signed")
    torch.nn.init.constant_(quantizer.scale, 0.5)
    x = torch.tensor([0.2, 0.3, 1.1, 80.0, -90.0], requires_grad=True)
    quantizer(x).sum().backward()
    # Esser et al., 2020, equation 3: round(v) - v inside, the bound outside; then equation 5's
    # 1 / sqrt(n * high).
    v = x.detach() / 0.5
    inside = (v >= -128) & (v <= 127)
    each = torch.where(inside, v.round() - v, v.clamp(-128, 127))
    assert x.grad is not None
    assert x.grad.tolist() == inside.float().tolist()
    assert quantizer.scale.grad is not None
    expected = each.sum() / (x.numel() * 127) ** 0.5
    assert quantizer.scale.grad.item() == pytest.approx(expected.item(), rel=1e-5)


def test_quant_resnet_equals_the_float_network_when_quantizers_are_off(
    checkpoint: Checkpoint,
) -> None:
    model = checkpoint.build()
    images = torch.randn(4, 3, 16, 16)
    for live in (False, True):
        quantized = QuantResNet(model, live_bn=live).eval()  # type: ignore[arg-type]
        for quantizer in quantized.quantizers().values():
            quantizer.enabled = False
        with torch.no_grad():
            assert torch.allclose(quantized(images), model(images), atol=1e-4)


def test_fold_changes_no_logit_when_normalization_was_live(checkpoint: Checkpoint) -> None:
    quantized = QuantResNet(checkpoint.build(), live_bn=True).eval()  # type: ignore[arg-type]
    images = torch.randn(16, 3, 16, 16)
    calibrate(quantized, [images], "ema")
    with torch.no_grad():
        before = quantized(images)
        quantized.fold()
        difference = (quantized(images) - before).abs().max()
    # A value half-way between two steps may round the other way.
    assert difference <= 0.02 * (before.max() - before.min())


def test_both_branches_of_every_add_are_on_a_grid(int8_checkpoint: Checkpoint) -> None:
    model = int8_checkpoint.build()
    seen: list[tuple[torch.Tensor, float]] = []

    for name, module in model.named_modules():
        if name.endswith(("conv2_quant", "downsample_quant", "output_quant")):
            module.register_forward_hook(lambda m, _, y: seen.append((y.detach(), float(m.step()))))
    with torch.no_grad():
        model(torch.randn(2, 3, 16, 16))
    assert len(seen) == 8 + 3 + 8
    for tensor, step in seen:
        integers = tensor / step
        assert torch.allclose(integers, integers.round(), atol=1e-3)


def test_mse_observer_is_no_worse_than_any_step_tried() -> None:
    high = 127
    torch.manual_seed(0)
    values = torch.cat([torch.randn(200_000), torch.tensor([25.0])])
    observer = make_observer("mse")
    for part in values.split(20_000):
        observer.update(part)

    def error(step: float) -> float:
        return float(
            ((values / step).round().clamp(-high - 1, high) * step - values).square().mean()
        )

    found = error(observer.scale(high))
    tried = [error(float(maximum) / high) for maximum in np.linspace(0.5, 25, 200)]
    assert found <= min(tried) * 1.05
    assert found < 0.5 * error(25.0 / high)


def test_percentile_observer_ignores_an_outlier() -> None:
    torch.manual_seed(0)
    values = torch.randn(200_000).clamp(-4, 4)
    values[0] = 100.0
    observer = make_observer("percentile")
    observer.update(values)
    expected = float(np.percentile(values.abs().numpy(), 99.99)) / 127
    assert observer.scale(127) == pytest.approx(expected, rel=0.05)


def test_calibrate_shows_every_image_once_and_memory_stays_bounded(checkpoint: Checkpoint) -> None:
    model = QuantResNet(checkpoint.build())  # type: ignore[arg-type]
    assert calibrate(model, (torch.randn(8, 3, 16, 16) for _ in range(3)), "mse") == 24
    assert all(q.observer is None for q in model.quantizers().values())
    assert all((q.step() > 0).all() for q in model.quantizers().values())


def test_qat_learns_the_labels_when_the_network_is_random(checkpoint: Checkpoint) -> None:
    training = TrainOptions(epochs=3, batch_size=32, lr=0.02, augment="none", label_smoothing=0.0)
    options = QuantizeOptions(method="qat", calibration_images=32, train=training)
    result, figures = quantize_checkpoint(
        checkpoint, options=options, context=TaskContext(data="digits", limit=256)
    )
    assert result.precision == "int8"
    assert figures["method"] == "qat"
    assert figures["top1_int8"] > figures["top1_calibrated"] + 0.2
    assert not any("bn" in name or "running" in name for name in result.state_dict)


def test_auto_stops_at_calibration_when_the_budget_is_kept(checkpoint: Checkpoint) -> None:
    options = QuantizeOptions(method="auto", max_drop=1.0, calibration_images=32)
    _, figures = quantize_checkpoint(
        checkpoint, options=options, context=TaskContext(data="digits", limit=64)
    )
    assert figures["method"] == "ptq"


def test_step_size_gradient_goes_down_the_error_when_followed() -> None:
    torch.manual_seed(0)
    x = torch.randn(4096)
    quantizer = FakeQuant("signed")
    torch.nn.init.constant_(quantizer.scale, 0.2)
    optimizer = torch.optim.SGD(quantizer.parameters(), 20.0)
    errors = []
    for _ in range(100):
        loss = F.mse_loss(quantizer(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.5 * errors[0]


def test_old_weights_do_not_come_back_when_a_resume_file_is_left_over(tmp_path: Path) -> None:
    training = TrainOptions(epochs=1, batch_size=16, augment="none", workers=0)
    options = QuantizeOptions(method="qat", calibration_images=16, train=training)

    def quantized(source: Checkpoint, resume_path: Path | None = None) -> Checkpoint:
        return quantize_checkpoint(
            source,
            options=options,
            context=TaskContext(data="digits", limit=32, resume_path=resume_path),
        )[0]

    old = replace(narrow_weights(tmp_path / "w.pt"), classes=tuple("0123456789"))
    new = replace(old, state_dict={name: t + t.abs() / 2 for name, t in old.state_dict.items()})
    quantized(old, tmp_path / "resume.pt")
    expected, found = quantized(new), quantized(new, tmp_path / "resume.pt")
    for name, tensor in expected.state_dict.items():
        assert torch.equal(found.state_dict[name], tensor), name
