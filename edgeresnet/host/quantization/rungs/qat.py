"""Training with fake quantization in place."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

from torch import nn

from edgeresnet.device.data.dataset import Dataset
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.sparsity_2_4 import apply_masks, is_sparse, masks_of
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.host.quantization.embedding_reference import EmbeddingReference
from edgeresnet.host.quantization.rungs.rung import Basis, Reached, Work, finished
from edgeresnet.host.training.fit import fit
from edgeresnet.host.training.step import TrainHooks
from edgeresnet.settings.training import TrainOptions


def qat(work: Work, basis: Basis) -> Reached:
    """Calibrate, then train as the settings say."""
    return trained(work, basis, work.options.train, work.context.resume_path)


def trained(work: Work, basis: Basis, options: TrainOptions, resume_path: Path | None) -> Reached:
    """Calibrate, then train with fake quantization.

    Args:
        work: the quantization.
        basis: what to begin with; its network's batch normalization runs on where the settings say.
        options: of the training.
        resume_path: what it goes on from.
    """
    chosen = work.images.chosen
    work.context.on_step(f"calibrating on {len(chosen)} images ({basis.observer})")
    model = work.calibrated(basis, live=work.options.freeze_bn > 0).cpu()
    calibrated = work.reference.figures(model)
    result = fit(
        model,
        work.train_set,
        _validation(work),
        work.checkpoint.input_spec,
        options,
        hooks=_hooks(work, options),
        resume_path=resume_path,
        resume_key=_resume_key(work, basis),
        progress=work.context.progress,
    )
    return finished(
        model,
        basis,
        observer=basis.observer,
        top1_calibrated=calibrated["top1_int8"],
        agreement_calibrated=calibrated["agreement"],
        epochs_run=result.epochs_run,
        threads=result.threads,
    )


def _validation(work: Work) -> Dataset:
    """With what counts as right: the labels, else what the float network answers."""
    if isinstance(work.reference, EmbeddingReference):
        embeddings = work.reference.embeddings
        channels = tuple(str(channel) for channel in range(embeddings.shape[1]))
        return work.val_set.relabelled(channels, embeddings.argmax(1))
    if work.reference.labelled:
        return work.val_set
    return work.val_set.relabelled(work.checkpoint.classes, work.reference.answers)


def _hooks(work: Work, options: TrainOptions) -> TrainHooks:
    checkpoint, freeze_bn = work.checkpoint, work.options.freeze_bn
    masks = masks_of(checkpoint.state_dict) if is_sparse(checkpoint) else None

    def before_epoch(network: nn.Module, done: float) -> None:
        if done >= freeze_bn:
            cast(QuantResNet, network).freeze_bn()

    return TrainHooks(
        teacher=work.reference.model if options.distill > 0 else None,
        on_epoch=before_epoch,
        constrain=None if masks is None else lambda network: apply_masks(network, masks),
        unlabelled=work.headless or not work.reference.labelled,
        on_figures=partial(
            work.context.on_figures, "distillation" if options.distill == 1 else "training"
        ),
    )


def _resume_key(work: Work, basis: Basis) -> str:
    """What else must be the same for a training to go on: the float weights, above all."""
    options = work.options
    # The method and the budget decide whether there is a training, and change nothing in it.
    settings = [
        basis.observer, work.images.count, options.freeze_bn, options.weight_bits, options.seed,
    ]  # fmt: skip
    floats = f" in float {options.float_layers}" if options.float_layers else ""
    key = f"qat {settings}{floats} {weights_digest(work.checkpoint.state_dict)}"
    if basis.network is work.reference.model:
        return key
    return f"{key} from {weights_digest(basis.network.state_dict())}"
