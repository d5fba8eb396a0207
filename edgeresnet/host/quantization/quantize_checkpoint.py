"""Float checkpoint to fake-quantized checkpoint: calibrate, train if needed, fold, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from edgeresnet.device.data.dataset import Dataset, fingerprint, is_labelled
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.data.remembered import placed
from edgeresnet.device.data.shared_images import shared_line
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.measure.budgets import quantization_budgets, verdict_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.quantization.calibration_images import CalibrationImages
from edgeresnet.host.quantization.climbing import Row, best_rung, climb
from edgeresnet.host.quantization.embedding_reference import any_reference
from edgeresnet.host.quantization.rungs.rung import Work
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.progress import TaskContext
from edgeresnet.results.made import QuantizeResults
from edgeresnet.settings.quantization import USUAL_CALIBRATION_IMAGES, QuantizeOptions


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
        strict: a budget that its interval leaves undecided counts as missed; ``auto`` then goes on.
        context: data (else what the checkpoint remembers): the training split calibrates and
            trains, the validation split measures: without labels, agreement with the float network
            alone. ``resume_path`` is the file of the
            quantization-aware training; see `edgeresnet.host.training.fit.fit`.

    Returns:
        The int8 checkpoint, normalization folded, and its figures.

    Raises:
        InputError: the checkpoint is quantized already, data and checkpoint do not fit, the options
            need labels and the data has none, or a layer that is to stay float is none of its.
        CheckError: training diverged, or the result is not finite.
    """
    if checkpoint.precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized already ({checkpoint.precision})",
            "give the float checkpoint that it was made of.",
        )
    _check_before_images(checkpoint, options)
    named = checkpoint.classes_known
    checkpoint, train_set, val_set = open_splits_for(checkpoint, context, unlabelled=True)
    if not is_labelled(val_set):
        options = options.without_labels(val_set.name)
    if not checkpoint.classes:
        options = options.from_float_alone("classes, and the checkpoint has no classifier")
    if options.trains and not (checkpoint.classes and is_labelled(val_set)):
        what = "answers" if checkpoint.classes else "embeddings"
        context.on_step(f"a training learns from the float network's {what} alone (distill 1)")
    work = _work(checkpoint, train_set, val_set, options, context)
    doubts = [*work.reference.doubts(by_name=named), *_shared(work)]
    for doubt in doubts:
        context.on_step(doubt)
    model, rungs = climb(work, strict=strict)
    figures = _figures(work, rungs, doubts, strict=strict)
    figures["conversions"] = say_conversions([train_set, val_set], context.on_step)
    state_dict = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    quantized = replace(
        checkpoint,
        state_dict=state_dict,
        precision="int8",
        quantization=figures,
        float_layers=model.float_layers,
    )
    return quantized, cast(QuantizeResults, figures)


def _check_before_images(checkpoint: Checkpoint, options: QuantizeOptions) -> None:
    """Refuse what can be refused before an image is looked at."""
    options.check_all_images()
    options.check_start()
    if options.float_layers:
        QuantResNet(cast(Any, checkpoint.outline()), float_layers=options.float_layers)


def _work(
    checkpoint: Checkpoint,
    train_set: Dataset,
    val_set: Dataset,
    options: QuantizeOptions,
    context: TaskContext,
) -> Work:
    """The float network to be asked, and how many images calibrate."""
    limits = options.limits(labelled=is_labelled(val_set))
    reference = any_reference(
        checkpoint, val_set, limits=limits, seed=options.seed, all_images=options.all_images
    )
    context.on_step(f"measuring the float network on {reference.plan[0].images} images")
    count = options.calibration_images or USUAL_CALIBRATION_IMAGES
    images = CalibrationImages(train_set, options.seed, count)
    work = Work(checkpoint, reference, train_set, val_set, options, context, images)
    if options.method == "auto" and options.calibration_images is None:
        return work.with_settled_images()
    return work


def _shared(work: Work) -> list[str]:
    """Says that images to measure on are learned from too; empty if none that is known."""
    if work.options.trains:
        line = shared_line(work.val_set, work.train_set, "training")
    else:
        line = shared_line(work.val_set, work.looked_at, "calibration")
    return [] if line is None else [line]


def _figures(
    work: Work, rungs: list[Row], doubts: Sequence[str], *, strict: bool
) -> dict[str, Any]:
    """Those of the best rung, of all rungs, and whether the budget is kept.

    Args:
        work: the quantization.
        rungs: the figures of each method that was tried.
        doubts: of the float network and the data, told before; the best network's are added.
        strict: a doubt is a failure.
    """
    options = work.options
    limits = options.limits(labelled=work.reference.labelled)
    best = best_rung(rungs, limits, strict=strict)
    for doubt in best["doubts"]:
        work.context.on_step(doubt)
    doubts = [*doubts, *best["doubts"]]
    checked = quantization_budgets(best, limits)
    return {
        "weight_bits": options.weight_bits,
        "start": options.start,
        "top1_float": work.reference.top1,
        "threads": torch.get_num_threads(),
        **best,
        "rungs": rungs,
        "budgets": checked,
        "doubts": doubts,
        **verdict_of(checked, strict=strict, doubts=doubts),
        **work.images.record(),
        "data": placed(work.context.data or work.checkpoint.data),
        "data_fingerprint": fingerprint(work.train_set),
        "seed": options.seed,
        "quantized_with": versions(),
    }
