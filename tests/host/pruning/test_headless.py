"""Networks without a classifier: cut by their weights, not recovered, as the backbone they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeresnet.api.prune import prune
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.sparsity_2_4 import is_sparse
from edgeresnet.host.pruning.headless import NOT_RECOVERED
from edgeresnet.host.pruning.prune_checkpoint import prune_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import TrainOptions
from tests.conftest import Command
from tests.networks_without_head import without_head

DIGITS = TaskContext(data="digits", limit=60)


@pytest.fixture(scope="module")
def plain(checkpoint: Checkpoint) -> Checkpoint:
    return without_head(checkpoint)


def test_prune_cuts_as_with_a_classifier_when_the_criterion_is_of_weights(
    plain: Checkpoint, checkpoint: Checkpoint
) -> None:
    said: list[str] = []
    options = PruneOptions(macs=0.5, criterion="l2", images=32, step=8)
    context = TaskContext(data="digits", limit=60, on_step=said.append)
    cut, told = prune_checkpoint(plain, options, context=context)
    assert NOT_RECOVERED in said
    assert cut.classes == ()
    assert told["macs_after"] < 0.52 * told["macs_before"]
    # Random weights keep images of one digit together; by chance it would be 0.1.
    assert (told["top1_dense"] or 0) > 0.3
    assert told["top1"] == told["top1_before_recovery"]
    short = TrainOptions(epochs=1, batch_size=30, lr=1e-9, augment="none")
    same = PruneOptions(macs=0.5, criterion="l2", images=32, step=8, train=short)
    whole, _ = prune_checkpoint(checkpoint, same, context=DIGITS)
    # Which channels go is what it is with the classifier, but for the share of its own cost.
    kept = [
        name for name, one in cut.widths.to_dict().items() if one == whole.widths.to_dict()[name]
    ]
    assert "streams" in kept
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        assert cut.build()(images).shape == (1, cut.widths.streams[-1])


def test_prune_needs_no_labels_when_there_is_no_classifier(
    plain: Checkpoint, tmp_path: Path, command: Command
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(20):
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    save_checkpoint(plain, tmp_path / "plain.pt")
    code, out, told = command(
        "prune", tmp_path / "plain.pt", "--data", tmp_path / "images", "--macs", 0.5, "--step", 8,
        "--criterion", "bn_scale", "-o", tmp_path / "half.pt",
    )  # fmt: skip
    assert code == 0, told
    assert "of the multiply-accumulates" in out
    assert "top-1" not in out
    assert load_checkpoint(str(tmp_path / "half.pt")).provenance["pruning"]["drop"] is None


def test_prune_makes_2_4_sparse_when_there_is_no_classifier(plain: Checkpoint) -> None:
    options = PruneOptions(pattern="2:4", criterion="l1", images=32)
    assert is_sparse(prune_checkpoint(plain, options, context=DIGITS)[0])


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "criterion taylor goes by a classifier's loss"),
        ({"criterion": "l2", "iterations": 2}, "iterations would have no effect"),
        ({"criterion": "l2", "compare_criteria": True}, "compare_criteria would have no effect"),
        ({"criterion": "l2", "train": TrainOptions(epochs=2)}, "train would have no effect"),
    ],
)
def test_prune_refuses_what_needs_a_classifier(
    plain: Checkpoint, tmp_path: Path, options: dict[str, Any], cause: str
) -> None:
    save_checkpoint(plain, tmp_path / "plain.pt")
    with pytest.raises(InputError, match=cause) as caught:
        prune(
            tmp_path / "plain.pt", tmp_path / "half.pt", PruneOptions(macs=0.5, **options),
            context=DIGITS,
        )  # fmt: skip
    assert caught.value.fix
    assert not (tmp_path / "half.pt").exists()
