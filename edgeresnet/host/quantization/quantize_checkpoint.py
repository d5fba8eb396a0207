"""Float checkpoint to fake-quantized checkpoint: calibrate, train if needed, fold, measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, balanced_subset, batches, fingerprint
from edgeresnet.device.data.open import conversions_of
from edgeresnet.device.data.remembered import placed
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.measure.accuracy import chance_line, paired_difference
from edgeresnet.device.measure.budgets import drop_budgets, drop_of, fails, verdict_of
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.models.checkpoint import Checkpoint, weights_digest
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.sparsity_2_4 import apply_masks, is_sparse, masks_of
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.training.fit import fit
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.host.training.step import TrainHooks, training_device
from edgeresnet.progress import TaskContext
from edgeresnet.results import QuantizeResults
from edgeresnet.settings.quantization import QuantizeOptions

CALIBRATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class _Reference:
    """The float network and what it answers on the validation images."""

    model: ResNet
    images: EvaluationSet
    answers: np.ndarray[Any, np.dtype[np.int64]]

    def figures(self, model: QuantResNet) -> dict[str, Any]:
        """Top-1 of a quantized network, what it lost, and how often it answers as the float one."""
        device = training_device()
        logits = evaluate(model.to(device), self.images, device)
        model.cpu()
        if not np.isfinite(logits).all():
            raise CheckError(
                "the quantized network gives NaN or infinite logits",
                "check the checkpoint's weights, or calibrate with --observer percentile.",
            )
        answers, labels = logits.argmax(1), self.images.labels
        lost = drop_of(paired_difference(self.answers == labels, answers == labels))
        return {
            "top1_int8": float((answers == labels).mean()),
            "drop": lost.value,
            "drop_interval": [lost.low, lost.high],
            "agreement": float((answers == self.answers).mean()),
        }

    @property
    def top1(self) -> float:
        return float((self.answers == self.images.labels).mean())


@within_quota()
def quantize_checkpoint(
    checkpoint: Checkpoint,
    options: QuantizeOptions,
    *,
    strict: bool = False,
    context: TaskContext,
) -> tuple[Checkpoint, QuantizeResults]:
    """Quantize a float checkpoint on its data.

    A missed budget is no error here: the best network that was reached is returned, and ``verdict``
    among its figures says ``fail``.

    Args:
        checkpoint: of any origin, precision fp32.
        options: all settings.
        strict: a budget that its interval leaves undecided counts as missed; ``auto`` then trains.
        context: data (else what the checkpoint remembers): the training split calibrates and
            trains, the validation split measures. ``resume_path`` is the file of the
            quantization-aware training; see `edgeresnet.host.training.fit.fit`.

    Returns:
        The int8 checkpoint, normalization folded, and its figures.

    Raises:
        InputError: the checkpoint is quantized already, or data and checkpoint do not fit.
        CheckError: training diverged, or the result is not finite.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized already ({checkpoint.precision})",
            "give the float checkpoint that it was made of.",
        )
    named = checkpoint.classes_known
    checkpoint, train_set, val_set = open_splits_for(checkpoint, context)
    context.on_step(f"measuring the float network on {len(val_set)} images")
    reference = _reference(checkpoint, val_set)
    doubt = chance_line(reference.answers, val_set.labels, len(checkpoint.classes), by_name=named)
    if doubt is not None:
        context.on_step(doubt)
    work = _Work(checkpoint, reference, train_set, val_set, options, context)
    model, rungs = work.climb(strict=strict)
    figures = work.figures(rungs, strict=strict)
    conversions = conversions_of([train_set, val_set])
    for line in conversions.lines():
        context.on_step(line)
    figures["conversions"] = conversions.counts()
    state_dict = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    quantized = replace(
        checkpoint,
        state_dict=state_dict,
        precision="int8",
        quantization=figures,
    )
    return quantized, cast(QuantizeResults, figures)


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


def _keeps(rung: Mapping[str, Any], max_drop: float | None, *, strict: bool) -> bool:
    return not any(fails(b, strict=strict) for b in drop_budgets(rung, max_drop))


def best_rung(
    rungs: Sequence[dict[str, Any]], max_drop: float | None, *, strict: bool = False
) -> dict[str, Any]:
    """The first rung that keeps the budget, else the one with the highest top-1."""
    keeping = (rung for rung in rungs if _keeps(rung, max_drop, strict=strict))
    return next(keeping, max(rungs, key=lambda rung: float(rung["top1_int8"])))


@dataclass(frozen=True, eq=False)
class _Work:
    """One quantization under way."""

    checkpoint: Checkpoint
    reference: _Reference
    train_set: Dataset
    val_set: Dataset
    options: QuantizeOptions
    context: TaskContext

    def figures(self, rungs: list[dict[str, Any]], *, strict: bool) -> dict[str, Any]:
        """Those of the best rung, of all rungs, and whether the budget is kept."""
        options = self.options
        best = best_rung(rungs, options.drop_limit, strict=strict)
        checked = drop_budgets(best, options.drop_limit)
        return {
            "method": best["method"],
            "observer": options.observer,
            "weight_bits": options.weight_bits,
            "top1_float": self.reference.top1,
            "threads": torch.get_num_threads(),
            **best,
            "rungs": rungs,
            "budgets": checked,
            **verdict_of(checked, strict=strict),
            "calibration_images": min(options.calibration_images, len(self.train_set)),
            "data": placed(self.context.data or self.checkpoint.data),
            "data_fingerprint": fingerprint(self.train_set),
            "seed": options.seed,
            "quantized_with": versions(),
        }

    def climb(self, *, strict: bool) -> tuple[QuantResNet, list[dict[str, Any]]]:
        """Try the methods asked for, the cheapest first, until one keeps the budget.

        Returns:
            The network of `best_rung`, and the figures of each method that was tried.
        """
        limit = self.options.drop_limit
        calibrating, training = self._calibrate_only, self._train
        methods = {"ptq": [calibrating], "qat": [training], "auto": [calibrating, training]}
        tried: list[tuple[QuantResNet, dict[str, Any]]] = []
        for method in methods[self.options.method]:
            if tried:
                figures = tried[-1][1]
                self.context.on_step(
                    f"{figures['method']} loses {figures['drop']:.4f} top-1, and {limit} is the "
                    "limit: training"
                )
            tried.append(method())
            if _keeps(tried[-1][1], limit, strict=strict):
                break
        rungs = [figures for _, figures in tried]
        best = best_rung(rungs, limit, strict=strict)
        return next(model for model, figures in tried if figures is best), rungs

    def _calibrate_only(self) -> tuple[QuantResNet, dict[str, Any]]:
        model = self._calibrated(live=False)
        model.fold()
        return model, {"method": "ptq", **self.reference.figures(model)}

    def _train(self) -> tuple[QuantResNet, dict[str, Any]]:
        checkpoint, options = self.checkpoint, self.options
        model = self._calibrated(live=options.freeze_bn > 0)
        calibrated = self.reference.figures(model)["top1_int8"]
        masks = masks_of(checkpoint.state_dict) if is_sparse(checkpoint) else None

        def before_epoch(network: nn.Module, done: float) -> None:
            if done >= options.freeze_bn:
                cast(QuantResNet, network).freeze_bn()

        result = fit(
            model,
            self.train_set,
            self.val_set,
            checkpoint.input_spec,
            options.train,
            hooks=TrainHooks(
                teacher=self.reference.model if options.train.distill > 0 else None,
                on_epoch=before_epoch,
                constrain=None if masks is None else lambda network: apply_masks(network, masks),
            ),
            resume_path=self.context.resume_path,
            resume_key=self._resume_key(),
            progress=self.context.progress,
        )
        model.fold()
        figures = {
            "method": "qat",
            **self.reference.figures(model),
            "top1_calibrated": calibrated,
            "epochs_run": result.epochs_run,
            "threads": result.threads,
        }
        return model, figures

    def _resume_key(self) -> str:
        """What else must be the same for a training to go on: the float weights, above all."""
        options = self.options
        # The method and the budget decide whether there is a training, and change nothing in it.
        settings = [
            options.observer, options.calibration_images, options.freeze_bn, options.weight_bits,
            options.seed,
        ]  # fmt: skip
        return f"qat {settings} {weights_digest(self.checkpoint.state_dict)}"

    def _calibrated(self, *, live: bool) -> QuantResNet:
        options = self.options
        chosen = balanced_subset(self.train_set, options.calibration_images, options.seed)
        self.context.on_step(f"calibrating on {len(chosen)} images ({options.observer})")
        device = training_device()
        model = QuantResNet(self.reference.model, live_bn=live, weight_bits=options.weight_bits).to(
            device
        )

        def images() -> Iterator[Tensor]:
            for inputs, _ in batches(chosen, self.checkpoint.input_spec, CALIBRATION_BATCH):
                yield torch.from_numpy(inputs).to(device)

        calibrate(model, images(), options.observer)
        return model.cpu()
