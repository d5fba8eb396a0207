"""The one training loop: training, recovery, quantization-aware training and distillation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.device.data.dataset import Dataset
from edgeresnet.errors import CheckError
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.training.batches import TrainBatches
from edgeresnet.host.training.randomness import reproducible, seed_everything
from edgeresnet.host.training.resume import Saver, Standing, training_key
from edgeresnet.host.training.step import NO_HOOKS, Learner, TrainHooks, training_device
from edgeresnet.progress import TrainProgress, duration
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import TrainOptions

RESUME_EVERY_S = 60.0
# Reading a loss off a GPU waits for it.
CHECK_EVERY = {"cuda": 16, "cpu": 1}


@dataclass(frozen=True)
class TrainResult:
    """What training came to.

    Attributes:
        state_dict: on the CPU; the best epoch's where ``patience`` is set, else the last's.
        top1: its share of right answers on the validation data, in [0, 1].
        epochs_run: fewer than asked for after an early stop.
        history: for each epoch ``epoch`` (from 1), ``loss`` and ``train_top1`` (on augmented
            images), ``lr``, ``seconds``, and where it was validated ``top1``.
        seconds: in all, those before an interruption included.
        threads: that torch computed with.
    """

    state_dict: dict[str, Tensor]
    top1: float
    epochs_run: int
    history: list[dict[str, float]]
    seconds: float
    threads: int


@dataclass(frozen=True)
class _Training:
    """All that a training is made of; `run` goes through the epochs that are left."""

    options: TrainOptions
    hooks: TrainHooks
    feed: TrainBatches
    learner: Learner
    saver: Saver
    validation: EvaluationSet

    def run(self, reporter: TrainProgress) -> Standing:
        """From the start, or from where the resume file is."""
        learner, options = self.learner, self.options
        standing = self.saver.load(learner, reporter.say)
        if options.compile:
            reporter.say("PyTorch compiles at the first batch of each size, for a minute or more")
        try:
            while standing.epoch < options.epochs and not _is_over(standing, options):
                if self.hooks.on_epoch is not None:
                    self.hooks.on_epoch(learner.model, standing.epoch / options.epochs)
                _train_epoch(learner, self.feed, standing, self.saver, reporter, self.hooks)
                last = standing.epoch + 1 == options.epochs
                validated: dict[str, float] = {}
                if last or (standing.epoch + 1) % options.validate_every == 0:
                    validated = _validate(learner, self.validation, standing, options)
                text = _end_epoch(learner, standing, validated, self.hooks)
                reporter.end_epoch(f"{text}  {reporter.images_per_second():.0f} images/s")
                self.saver.save(learner, standing)
            if standing.epoch < options.epochs:
                reporter.say(f"stopped early: epoch {standing.best_epoch} is the best")
        finally:
            self.feed.close()
        return standing


@within_quota()
def fit(
    model: nn.Module,
    train_set: Dataset,
    val_set: Dataset,
    spec: InputSpec,
    options: TrainOptions,
    *,
    hooks: TrainHooks = NO_HOOKS,
    resume_path: Path | None = None,
    resume_key: str = "",
    progress: bool = True,
) -> TrainResult:
    """Train ``model`` in place; on a GPU where there is one.

    Seeds the global generators of torch and numpy. Afterwards the model is on the CPU, in eval
    mode, and has the returned weights. Torch computes with as many threads as the CPU quota pays
    for, and goes on with as many as it began with.

    Args:
        model: (N, 3, H, W) float32 to logits (N, classes).
        train_set: two images or more.
        val_set: of the same classes; where ``hooks`` say that there are no labels, labelled with
            the teacher's answers: what is called top-1 is then agreement with it.
        spec: how an image becomes an input.
        options: all settings.
        hooks: a teacher, the optimizer's groups, and what is called meanwhile.
        resume_path: written after every epoch and about once a minute, and gone on from if it is
            of the same settings, data and ``resume_key``; `discard_resume` removes it.
        resume_key: what else must be the same, such as the hash of the first weights.
        progress: report on stderr.

    Raises:
        InputError: options that do not go together, or a broken image.
        CheckError: the loss became NaN or infinite.
    """
    with reproducible(options.deterministic):
        training = _prepare(
            model, train_set, val_set, spec, options, hooks, resume_path, resume_key
        )
        with TrainProgress(
            options.epochs, training.feed.images, enabled=progress, figure=hooks.figure
        ) as reporter:
            standing = training.run(reporter)
    return _finish(model, training.learner, standing, options)


def _prepare(
    model: nn.Module,
    train_set: Dataset,
    val_set: Dataset,
    spec: InputSpec,
    options: TrainOptions,
    hooks: TrainHooks,
    resume_path: Path | None,
    resume_key: str,
) -> _Training:
    device = training_device()
    seed_everything(options.seed)
    feed = TrainBatches(train_set, spec, options, device)
    learner = Learner(model, options, feed.steps * options.epochs, device, hooks)
    # Nobody compares the key where there is no file, and it takes reading all images.
    known = resume_path is not None and processes().rank == 0
    key = training_key(learner, train_set, val_set, spec, resume_key) if known else ""
    validation = EvaluationSet(val_set, spec, shared=True)
    return _Training(options, hooks, feed, learner, Saver(resume_path, key), validation)


def _is_over(standing: Standing, options: TrainOptions) -> bool:
    """Whether patience has run out; only a validation can tell, so it is asked right after one."""
    if options.patience is None or not standing.history or "top1" not in standing.history[-1]:
        return False
    return standing.epoch - standing.best_epoch >= options.patience


def _train_epoch(
    learner: Learner,
    feed: TrainBatches,
    standing: Standing,
    saver: Saver,
    reporter: TrainProgress,
    hooks: TrainHooks,
) -> None:
    """The rest of the epoch that ``standing`` is in."""
    waiting: list[tuple[Tensor, Tensor, int]] = []
    every = CHECK_EVERY[learner.device.type]
    reporter.start_epoch(standing.epoch, standing.images)
    begun = saved = checked = time.monotonic()
    epoch_s = standing.epoch_s
    for images, labels in feed.epoch(standing.epoch, standing.step):
        waiting.append((*learner.step(images, labels, of := feed.images_of(standing.step)), of))
        standing.step += 1
        if standing.step % every and standing.step < feed.steps:
            continue
        before = standing.loss_sum
        done = _book(waiting, standing, learner, feed.steps)
        if hooks.on_figures is not None:
            place = standing.epoch * feed.steps + standing.step
            loss = (standing.loss_sum - before) / done
            hooks.on_figures(place, {"step/loss": loss, "step/learning rate": learner.lr})
        now = time.monotonic()
        standing.epoch_s = epoch_s + now - begun
        mean, top1 = standing.loss_sum / standing.images, standing.correct / standing.images
        reporter.step(done, now - checked, mean, top1)
        checked = now
        if now - saved >= RESUME_EVERY_S and standing.step < feed.steps:
            saver.save(learner, standing)
            saved = checked = time.monotonic()


def _book(
    waiting: list[tuple[Tensor, Tensor, int]], standing: Standing, learner: Learner, steps: int
) -> int:
    """Add finished steps to the epoch's figures and empty the list; returns their images."""
    first = standing.step - len(waiting)
    told = torch.stack([torch.stack([loss, hits.to(loss)]) for loss, hits, _ in waiting])
    losses, rights = processes().total(told).T.tolist()
    hits = round(sum(rights))
    for place, loss in enumerate(losses):
        if not math.isfinite(loss):
            step = first + place + 1
            raise _diverged(
                f"at step {step} of {steps} in epoch {standing.epoch + 1} (loss {loss})",
                learner,
                at_start=standing.epoch == 0 and step == 1,
            )
    images = sum(n for _, _, n in waiting)
    standing.loss_sum += sum(loss * n for loss, (_, _, n) in zip(losses, waiting, strict=True))
    standing.correct += hits
    standing.images += images
    waiting.clear()
    return images


def _diverged(where: str, learner: Learner, *, at_start: bool) -> CheckError:
    options = learner.options
    if at_start:
        fix = "the starting weights or the inputs are broken: give other --weights, check --data."
    elif options.precision == "fp16":
        fix = "float16 may have overflowed: train with precision bf16, or lower lr."
    else:
        clip = "" if options.clip_norm else " and clip_norm 1.0"
        fix = f"lr {options.lr} is probably too high: try {options.lr / 10:g}{clip}."
    return CheckError(f"training diverged {where}", fix)


def _validate(
    learner: Learner, validation: EvaluationSet, standing: Standing, options: TrainOptions
) -> dict[str, float]:
    logits = evaluate(learner.result, validation, learner.device)
    if not np.isfinite(logits).all():
        where = f"by the end of epoch {standing.epoch + 1}: the logits are not finite"
        raise _diverged(where, learner, at_start=False)
    standing.top1 = float((logits.argmax(1) == validation.labels).mean())
    if standing.top1 > standing.best_top1:
        standing.best_top1, standing.best_epoch = standing.top1, standing.epoch + 1
        if options.patience is not None:
            standing.best = _weights(learner.result)
    return {"top1": standing.top1}


def _end_epoch(
    learner: Learner, standing: Standing, validated: dict[str, float], hooks: TrainHooks
) -> str:
    """Close the epoch's books, and tell its figures; returns a line about it."""
    figure = hooks.figure
    loss, top1 = standing.loss_sum / standing.images, standing.correct / standing.images
    figures = {
        "epoch": float(standing.epoch + 1),
        "loss": loss,
        "train_top1": top1,
        "lr": learner.lr,
        "seconds": standing.epoch_s,
    }
    standing.history.append(figures | validated)
    text = f"loss {loss:.4f}  train {figure} {top1:.4f}"
    if validated:
        text += f"  val {figure} {standing.top1:.4f} (best {standing.best_top1:.4f})"
    text += f"  {duration(standing.epoch_s)}"
    standing.epoch += 1
    if hooks.on_figures is not None:
        told = {"loss": loss, f"training {figure}": top1, "learning rate": learner.lr}
        told |= {f"validation {figure}": share for share in validated.values()}
        named = {f"epoch/{name}": value for name, value in told.items()}
        hooks.on_figures(standing.epoch, named)
    standing.step = standing.images = standing.correct = 0
    standing.loss_sum = standing.epoch_s = 0.0
    return text


def _finish(
    model: nn.Module, learner: Learner, standing: Standing, options: TrainOptions
) -> TrainResult:
    best = standing.best
    weights = best if best is not None else _weights(learner.result)
    top1 = standing.best_top1 if best is not None else standing.top1
    model.load_state_dict(weights)
    model.cpu().eval()
    return TrainResult(
        weights, top1, standing.epoch, standing.history, standing.total_s, torch.get_num_threads()
    )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
