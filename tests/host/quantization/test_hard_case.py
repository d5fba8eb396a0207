"""A network that calibration ruins, and no training is needed to mend: the ladder finds how.

A channel inside a block is made large, and what reads it small by as much: the float network
answers as before, and one step for the whole tensor leaves nothing of the other channels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import ARCHS, Widths, build_resnet
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.quantization.rungs.registry import RUNGS
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.quantization import TRAINING, QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS, TrainOptions
from tests.host.training.test_train_checkpoint import NARROW, run

BLOCK, CHANNEL = "layer2.0", 3
# The factor of the planted channel is the first of these by which calibration alone loses so much.
FACTORS, LOSS = (64, 128, 256, 512, 1024), 0.05


def planted(checkpoint: Checkpoint, factor: float) -> Checkpoint:
    """The same network with a large channel inside a block."""
    tensors = {name: tensor.clone() for name, tensor in checkpoint.state_dict.items()}
    tensors[f"{BLOCK}.bn1.weight"][CHANNEL] *= factor
    tensors[f"{BLOCK}.bn1.bias"][CHANNEL] *= factor
    tensors[f"{BLOCK}.conv2.weight"][:, CHANNEL] /= factor
    return replace(checkpoint, state_dict=tensors)


def quantized(checkpoint: Checkpoint, limit: int | None, **told: Any) -> Any:
    options = QuantizeOptions(observer="minmax", **told)
    context = TaskContext(data="digits", limit=limit)
    return quantize_checkpoint(checkpoint, options, context=context)[1]


def ruined(checkpoint: Checkpoint, limit: int | None) -> tuple[Checkpoint, int]:
    """The network with the smallest factor by which calibration loses `LOSS`, and that factor."""
    for factor in FACTORS:
        hard = planted(checkpoint, factor)
        if quantized(hard, limit, method="ptq", calibration_images=64)["drop"] >= LOSS:
            return hard, factor
    raise AssertionError(f"no factor up to {FACTORS[-1]} does harm")


def trained(path: Path, arch: str, widths: Widths, epochs: int, limit: int | None) -> Checkpoint:
    """A network that tells most digits, with no more than a channel's usual differences."""
    spec = InputSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    torch.manual_seed(0)
    weights = build_resnet(arch, 10, "small", widths).state_dict()
    names = tuple("0123456789")
    save_checkpoint(Checkpoint(arch, "small", widths, names, spec, dict(weights)), path)
    options = TrainOptions(epochs=epochs, batch_size=32, lr=0.05, augment="none", workers=0)
    checkpoint, result = run(weights=str(path), options=options, limit=limit)
    assert result.top1 > 0.6
    save_checkpoint(checkpoint, path)
    return load_checkpoint(path)


def check_ladder(hard: Checkpoint, factor: int, limit: int | None, most: float = 0.01) -> None:
    """``auto`` comes that near to float without training, and its rows say by which rung."""
    figures = quantized(hard, limit, method="auto", max_drop=most)
    rows = figures["rungs"]
    assert figures["weight_bits"] == 8  # what quantize gives where nobody says otherwise
    print(f"{hard.arch} x{factor}:", [(r["method"], round(r["drop"], 4)) for r in rows])
    assert [row["method"] for row in rows] == list(RUNGS)[: len(rows)]
    assert rows[0]["drop"] >= LOSS / 2
    assert figures["drop"] <= most
    assert figures["verdict"] == "pass"
    assert rows[-1]["method"] == figures["method"] not in TRAINING
    assert all(row["drop"] > most for row in rows[:-1])


@pytest.fixture(scope="module")
def hard_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, int]:
    """A small network that 240 images have taught, spoilt by that factor."""
    path = tmp_path_factory.mktemp("hard") / "w.pt"
    return ruined(trained(path, "resnet18", NARROW, epochs=20, limit=240), limit=240)


def test_auto_mends_without_training_what_calibration_ruins(
    hard_case: tuple[Checkpoint, int],
) -> None:
    # Of so few images one is nearly a point.
    check_ladder(*hard_case, limit=240, most=0.03)


def test_a_training_begins_where_another_rung_leads(hard_case: tuple[Checkpoint, int]) -> None:
    hard, _ = hard_case
    short = replace(QAT_DEFAULTS, epochs=1, lr=1e-4, batch_size=64, augment="none", workers=0)
    began = {
        start: quantized(hard, 240, method="qat", start=start, calibration_images=64, train=short)
        for start in ("ptq", "equalize")
    }
    assert [began[start]["start"] for start in began] == ["ptq", "equalize"]
    assert began["ptq"]["top1_calibrated"] <= began["ptq"]["top1_float"] - LOSS
    assert began["equalize"]["top1_calibrated"] >= began["equalize"]["top1_float"] - 0.03
    assert began["equalize"]["method"] == "qat"
    assert len(began["equalize"]["rungs"]) == 1


@pytest.mark.parametrize("method", ["auto", "ptq", "adaround"])
def test_a_start_is_of_a_training_that_is_asked_for(method: Any) -> None:
    with pytest.raises(InputError, match="start observer would have no effect"):
        QuantizeOptions(method=method, start="observer").check_start()
    QuantizeOptions(method=method).check_start()
    QuantizeOptions(method="qat-distill", start="observer").check_start()


def test_a_start_that_is_not_told_is_in_no_key() -> None:
    assert "start" not in QuantizeOptions(method="qat").to_dict()
    assert QuantizeOptions(method="qat", start="equalize").to_dict()["start"] == "equalize"


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_auto_mends_without_training_what_calibration_ruins_in(arch: str, tmp_path: Path) -> None:
    info = ARCHS[arch]
    inner = tuple(((16,) * (info.convs - 1),) * depth for depth in info.depths)
    widths = Widths(16, (16 * (4 if info.bottleneck else 1),) * 4, inner)
    hard, factor = ruined(
        trained(tmp_path / "w.pt", arch, widths, epochs=10, limit=None), limit=None
    )
    check_ladder(hard, factor, limit=None)
