"""Float checkpoint to fake-quantized checkpoint: calibrate, train if needed, fold, measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgeresnet.device.data.dataset import (
    Dataset,
    balanced_subset,
    batches,
    fingerprint,
    is_labelled,
)
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.data.remembered import placed
from edgeresnet.device.data.shared_images import shared_line
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.measure.budgets import fails, quantization_budgets, verdict_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.sparsity_2_4 import apply_masks, is_sparse, masks_of
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.quantization.reference import Reference, reference_of
from edgeresnet.host.training.fit import fit
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.host.training.step import TrainHooks, training_device
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import QuantizeResults
from edgeresnet.settings.quantization import QuantizeOptions

CALIBRATION_BATCH = 32


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
            trains, the validation split measures: without labels, agreement with the float network
            alone. ``resume_path`` is the file of the
            quantization-aware training; see `edgeresnet.host.training.fit.fit`.

    Returns:
        The int8 checkpoint, normalization folded, and its figures.

    Raises:
        InputError: the checkpoint is quantized already, data and checkpoint do not fit, or the
            options need labels and the data has none.
        CheckError: training diverged, or the result is not finite.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized already ({checkpoint.precision})",
            "give the float checkpoint that it was made of.",
        )
    options.check_all_images()
    named = checkpoint.classes_known
    checkpoint, train_set, val_set = open_splits_for(checkpoint, context, unlabelled=True)
    if not is_labelled(val_set):
        options = options.without_labels(val_set.name)
        if options.method != "ptq":
            context.on_step("a training learns from the float network's answers alone (distill 1)")
    limits = options.limits(labelled=is_labelled(val_set))
    reference = reference_of(
        checkpoint, val_set, limits=limits, seed=options.seed, all_images=options.all_images
    )
    context.on_step(f"measuring the float network on {reference.plan[0].images} images")
    work = _Work(checkpoint, reference, train_set, val_set, options, context)
    doubts = [*reference.doubts(by_name=named), *work.shared()]
    for doubt in doubts:
        context.on_step(doubt)
    model, rungs = work.climb(strict=strict)
    figures = work.figures(rungs, doubts, strict=strict)
    figures["conversions"] = say_conversions([train_set, val_set], context.on_step)
    state_dict = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    quantized = replace(
        checkpoint,
        state_dict=state_dict,
        precision="int8",
        quantization=figures,
    )
    return quantized, cast(QuantizeResults, figures)


def _keeps(rung: Mapping[str, Any], limits: Mapping[str, float], *, strict: bool) -> bool:
    return not any(fails(b, strict=strict) for b in quantization_budgets(rung, limits))


def best_rung(
    rungs: Sequence[dict[str, Any]], limits: Mapping[str, float], *, strict: bool = False
) -> dict[str, Any]:
    """The first rung that keeps the budgets, else the one that loses least top-1.

    Not the one with the highest: each may have been decided on other images. Without labels the one
    that answers as the float network most often.

    Args:
        rungs: the figures of each method that was tried, the cheapest first.
        limits: of `QuantizeOptions.limits`.
        strict: a budget in doubt is not kept.
    """

    def merit(rung: Mapping[str, Any]) -> float:
        return float(rung["agreement"] if rung["drop"] is None else -rung["drop"])

    keeping = (rung for rung in rungs if _keeps(rung, limits, strict=strict))
    return next(keeping, max(rungs, key=merit))


def _missed(rung: Mapping[str, Any], limits: Mapping[str, float], *, strict: bool) -> str:
    """What a method costs that has not kept every budget, in a line."""
    costs = {
        "max_drop": "loses {:.4f} top-1",
        "max_class_drop": "loses {:.4f} top-1 in its worst class",
        "max_disagreement": "answers {:.4f} otherwise",
    }
    failed = [b for b in quantization_budgets(rung, limits) if fails(b, strict=strict)]
    told = [f"{costs[b['name']].format(b['value'])}, and {b['limit']} is the limit" for b in failed]
    return f"{rung['method']} {'; '.join(told)}"


@dataclass(frozen=True, eq=False)
class _Work:
    """One quantization under way."""

    checkpoint: Checkpoint
    reference: Reference
    train_set: Dataset
    val_set: Dataset
    options: QuantizeOptions
    context: TaskContext

    @property
    def limits(self) -> dict[str, float]:
        """The budgets that bind, by name."""
        return self.options.limits(labelled=self.reference.labelled)

    def shared(self) -> list[str]:
        """Says that images to measure on are learned from too; empty if none that is known."""
        if self.options.method == "ptq":
            line = shared_line(self.val_set, self._calibration_images, "calibration")
        else:
            line = shared_line(self.val_set, self.train_set, "training")
        return [] if line is None else [line]

    @cached_property
    def _calibration_images(self) -> Dataset:
        options = self.options
        return balanced_subset(self.train_set, options.calibration_images, options.seed)

    def figures(
        self, rungs: list[dict[str, Any]], doubts: Sequence[str], *, strict: bool
    ) -> dict[str, Any]:
        """Those of the best rung, of all rungs, and whether the budget is kept.

        Args:
            rungs: the figures of each method that was tried.
            doubts: of the float network and the data, told before; the best network's are added.
            strict: a doubt is a failure.
        """
        options = self.options
        best = best_rung(rungs, self.limits, strict=strict)
        for doubt in best["doubts"]:
            self.context.on_step(doubt)
        doubts = [*doubts, *best["doubts"]]
        checked = quantization_budgets(best, self.limits)
        return {
            "method": best["method"],
            "observer": options.observer,
            "weight_bits": options.weight_bits,
            "top1_float": self.reference.top1,
            "threads": torch.get_num_threads(),
            **best,
            "rungs": rungs,
            "budgets": checked,
            "doubts": doubts,
            **verdict_of(checked, strict=strict, doubts=doubts),
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
        limits = self.limits
        calibrating, training = self._calibrate_only, self._train
        methods = {"ptq": [calibrating], "qat": [training], "auto": [calibrating, training]}
        tried: list[tuple[QuantResNet, dict[str, Any]]] = []
        for method in methods[self.options.method]:
            if tried:
                self.context.on_step(f"{_missed(tried[-1][1], limits, strict=strict)}: training")
            tried.append(method())
            if _keeps(tried[-1][1], limits, strict=strict):
                break
        rungs = [figures for _, figures in tried]
        best = best_rung(rungs, limits, strict=strict)
        return next(model for model, figures in tried if figures is best), rungs

    def _calibrate_only(self) -> tuple[QuantResNet, dict[str, Any]]:
        model = self._calibrated(live=False)
        model.fold()
        return model, {"method": "ptq", **self.reference.figures(model)}

    def _train(self) -> tuple[QuantResNet, dict[str, Any]]:
        checkpoint, options = self.checkpoint, self.options
        model = self._calibrated(live=options.freeze_bn > 0)
        calibrated = self.reference.figures(model)
        masks = masks_of(checkpoint.state_dict) if is_sparse(checkpoint) else None

        def before_epoch(network: nn.Module, done: float) -> None:
            if done >= options.freeze_bn:
                cast(QuantResNet, network).freeze_bn()

        labelled = self.reference.labelled
        val_set = self.val_set
        if not labelled:
            val_set = val_set.relabelled(checkpoint.classes, self.reference.answers)
        result = fit(
            model,
            self.train_set,
            val_set,
            checkpoint.input_spec,
            options.train,
            hooks=TrainHooks(
                teacher=self.reference.model if options.train.distill > 0 else None,
                on_epoch=before_epoch,
                constrain=None if masks is None else lambda network: apply_masks(network, masks),
                unlabelled=not labelled,
            ),
            resume_path=self.context.resume_path,
            resume_key=self._resume_key(),
            progress=self.context.progress,
        )
        model.fold()
        figures = {
            "method": "qat",
            **self.reference.figures(model),
            "top1_calibrated": calibrated["top1_int8"],
            "agreement_calibrated": calibrated["agreement"],
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
        chosen = self._calibration_images
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
