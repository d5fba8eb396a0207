"""Float checkpoint to fake-quantized checkpoint: calibrate, train if needed, fold, measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from edgeresnet.checkpoint import Checkpoint, weights_digest
from edgeresnet.dataset import Dataset, balanced_subset, batches, fingerprint
from edgeresnet.device import versions
from edgeresnet.errors import CheckError, InputError
from edgeresnet.evaluation import EvaluationSet, evaluate
from edgeresnet.loop import training_device
from edgeresnet.options import QuantizeOptions
from edgeresnet.quantize.calibrate import calibrate
from edgeresnet.quantize.modules import QuantResNet
from edgeresnet.sparsity import apply_masks, is_sparse, masks_of
from edgeresnet.splits import open_splits_for
from edgeresnet.train import fit

CALIBRATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class _Reference:
    """The float network and what it answers on the validation images."""

    model: ResNet
    images: EvaluationSet
    answers: np.ndarray[Any, np.dtype[np.int64]]

    def figures(self, model: QuantResNet) -> dict[str, float]:
        """Top-1 of a quantized network, and how often it answers as the float one."""
        device = training_device()
        logits = evaluate(model.to(device), self.images, device)
        model.cpu()
        if not np.isfinite(logits).all():
            raise CheckError(
                "the quantized network gives NaN or infinite logits",
                "check the checkpoint's weights, or calibrate with --observer percentile.",
            )
        answers = logits.argmax(1)
        return {
            "top1_int8": float((answers == self.images.labels).mean()),
            "agreement": float((answers == self.answers).mean()),
        }

    @property
    def top1(self) -> float:
        return float((self.answers == self.images.labels).mean())


def quantize_checkpoint(
    checkpoint: Checkpoint,
    *,
    data: str,
    options: QuantizeOptions,
    limit: int | None = None,
    skip_broken: bool = False,
    resume_path: Path | None = None,
    progress: bool = True,
    on_step: Callable[[str], object] = lambda text: None,
) -> tuple[Checkpoint, dict[str, Any]]:
    """Quantize a float checkpoint on its data.

    Args:
        checkpoint: of any origin, precision fp32.
        data: DATA SPEC; the training split calibrates and trains, the validation split measures.
        options: all settings.
        limit: images of each split.
        skip_broken: leave unreadable images out.
        resume_path: of the quantization-aware training; see `edgeresnet.train.fit`.
        progress: report training on stderr.
        on_step: told what is being done.

    Returns:
        The int8 checkpoint, normalization folded, and its figures: ``method``, ``top1_float``,
        ``top1_int8``, ``drop``, ``agreement`` with the float network, and more.

    Raises:
        InputError: the checkpoint is quantized already, or data and checkpoint do not fit.
        CheckError: training diverged, or the result is not finite.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized already ({checkpoint.precision})",
            "give the float checkpoint that it was made of.",
        )
    checkpoint, train_set, val_set = open_splits_for(
        checkpoint, data, limit=limit, skip_broken=skip_broken
    )
    on_step(f"measuring the float network on {len(val_set)} images")
    reference = _reference(checkpoint, val_set)
    model, figures = _ladder(
        checkpoint, reference, train_set, val_set, options, resume_path, progress, on_step
    )
    figures = {
        "method": figures.pop("method"),
        "observer": options.observer,
        "weight_bits": options.weight_bits,
        "top1_float": reference.top1,
        **figures,
        "drop": reference.top1 - figures["top1_int8"],
        "calibration_images": min(options.calibration_images, len(train_set)),
        "data": data,
        "data_fingerprint": fingerprint(train_set),
        "seed": options.seed,
        "quantized_with": versions(),
    }
    state_dict = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    quantized = replace(
        checkpoint,
        state_dict=state_dict,
        precision="int8",
        quantization=figures,
    )
    return quantized, figures


def _reference(checkpoint: Checkpoint, val_set: Dataset) -> _Reference:
    device = training_device()
    model = cast(ResNet, checkpoint.build())
    images = EvaluationSet(val_set, checkpoint.input_spec)
    logits = evaluate(model.to(device), images, device)
    model.cpu()
    if not np.isfinite(logits).all():
        raise CheckError(
            "the float network gives NaN or infinite logits", "train it again, or check its file."
        )
    return _Reference(model, images, logits.argmax(1))


def _ladder(
    checkpoint: Checkpoint,
    reference: _Reference,
    train_set: Dataset,
    val_set: Dataset,
    options: QuantizeOptions,
    resume_path: Path | None,
    progress: bool,
    on_step: Callable[[str], object],
) -> tuple[QuantResNet, dict[str, Any]]:
    """The cheapest method that keeps the budget, or the one that was asked for."""
    found: dict[str, Any] = {}
    if options.method in ("ptq", "auto"):
        model = _calibrated(checkpoint, reference.model, train_set, options, on_step, live=False)
        found = {"method": "ptq", **reference.figures(model)}
        drop = reference.top1 - found["top1_int8"]
        if options.method == "ptq" or drop <= options.max_drop:
            model.fold()
            return model, found
        on_step(f"calibration alone loses {drop:.4f} top-1, more than {options.max_drop}: training")
    live = options.freeze_bn > 0
    model = _calibrated(checkpoint, reference.model, train_set, options, on_step, live=live)
    found |= {"top1_calibrated": reference.figures(model)["top1_int8"]}

    masks = masks_of(checkpoint.state_dict) if is_sparse(checkpoint) else None

    def before_epoch(network: nn.Module, done: float) -> None:
        if done >= options.freeze_bn:
            cast(QuantResNet, network).freeze_bn()

    result = fit(
        model,
        train_set,
        val_set,
        checkpoint.input_spec,
        options.train,
        teacher=reference.model if options.train.distill > 0 else None,
        resume_path=resume_path,
        resume_key=f"qat {options} {weights_digest(checkpoint.state_dict)}",
        progress=progress,
        on_epoch=before_epoch,
        constrain=None if masks is None else lambda network: apply_masks(network, masks),
    )
    model.fold()
    found |= {"method": "qat", **reference.figures(model), "epochs_run": result.epochs_run}
    return model, found


def _calibrated(
    checkpoint: Checkpoint,
    float_model: ResNet,
    train_set: Dataset,
    options: QuantizeOptions,
    on_step: Callable[[str], object],
    *,
    live: bool,
) -> QuantResNet:
    chosen = balanced_subset(train_set, options.calibration_images, options.seed)
    on_step(f"calibrating on {len(chosen)} images ({options.observer})")
    device = training_device()
    model = QuantResNet(float_model, live_bn=live, weight_bits=options.weight_bits).to(device)

    def images() -> Iterator[Tensor]:
        for inputs, _ in batches(chosen, checkpoint.input_spec, CALIBRATION_BATCH):
            yield torch.from_numpy(inputs).to(device)

    calibrate(model, images(), options.observer)
    return model.cpu()
