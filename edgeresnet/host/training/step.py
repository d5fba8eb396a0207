"""One training step and all that it changes: weights, optimizer, schedule, average."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeresnet.errors import InputError, MissingError
from edgeresnet.host.models.fake_quant import part_of_step
from edgeresnet.host.models.weights import check_moments
from edgeresnet.host.parallel.processes import own_of_step, processes
from edgeresnet.host.training.compiling import compiled
from edgeresnet.host.training.distillation import Teacher
from edgeresnet.host.training.randomness import restore_rng, rng_state
from edgeresnet.host.training.weight_gradients import MatmulWeightGradients
from edgeresnet.settings.training import TrainOptions

ParamGroups = Callable[[nn.Module, TrainOptions], list[dict[str, Any]]]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainHooks:
    """What a training has beside its data and settings.

    Attributes:
        teacher: for distillation; used where ``options.distill`` is above 0; in eval mode.
        param_groups: the optimizer's groups; None puts weight decay on all but 1-D tensors.
        on_epoch: called before every epoch with the model and the share of epochs done.
        constrain: puts back, in place, what must be kept (such as zeros); called after every step.
        unlabelled: the training images have no labels, or the network no classes: the teacher alone
            is learned from, and its answers count as right, in validation too.
        on_figures: called with the number of a step or of an epoch, and its figures by name.
    """

    teacher: nn.Module | None = None
    param_groups: ParamGroups | None = None
    on_epoch: Callable[[nn.Module, float], None] | None = None
    constrain: Callable[[nn.Module], None] | None = None
    unlabelled: bool = False
    on_figures: Callable[[int, Mapping[str, float]], object] | None = None

    @property
    def figure(self) -> str:
        """What the share of right answers is called."""
        return "agreement" if self.unlabelled else "top-1"


NO_HOOKS = TrainHooks()


def training_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_param_groups(model: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
    """Weight decay for kernels and matrices, none for biases, normalization and step sizes."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def lr_factor(step: int, total: int, warmup: float) -> float:
    """Share of the largest learning rate at a step: a straight rise, then half a cosine to 0.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2 (rise), and
    Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5 (cosine).
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))


def _average(model: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    def update(averaged: Any, current: Any, count: Any) -> None:
        # Without the ramp a short training's average would be mostly its first weights.
        ramp = (1 + int(count)) / (10 + int(count))
        blend = get_ema_multi_avg_fn(min(decay, ramp))  # type: ignore[no-untyped-call]
        blend(averaged, current, count)

    return AveragedModel(model, device=device, multi_avg_fn=update, use_buffers=True)


def _optimizer(groups: list[dict[str, Any]], options: TrainOptions) -> Optimizer:
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr, betas=(options.momentum, 0.999))
    return torch.optim.SGD(
        groups, lr=options.lr, momentum=options.momentum, nesterov=options.momentum > 0
    )


class Learner:
    """A network in training.

    Args:
        model: moved to ``device`` and into channels-last memory, in place.
        options: all but the data's.
        steps: in the whole training; the schedule's length.
        device: where to train.
        hooks: the teacher is learned from with weight ``options.distill``.

    Raises:
        InputError: distillation without a teacher, or no labels to learn from.
        MissingError: fp16 without a GPU, or nothing can be compiled here.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainOptions,
        steps: int,
        device: torch.device,
        hooks: TrainHooks = NO_HOOKS,
    ) -> None:
        teacher, groups = hooks.teacher, hooks.param_groups or default_param_groups
        _check(options, device, hooks)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.device = device
        self.options = options
        self._teacher: Teacher | None = None
        if teacher is not None and options.distill > 0:
            teacher = teacher.to(device).to(memory_format=torch.channels_last)
            self._teacher = Teacher(teacher, options.temperature, options.distill_features)
        self._optimizer = _optimizer(groups(model, options), options)
        self._scheduler = LambdaLR(
            self._optimizer, lambda step: lr_factor(step, steps, options.warmup)
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self._processes = processes()
        network = compiled(self.model, device) if options.compile else self.model
        self._network = self._processes.averaging(network)
        self._constrain, self._unlabelled = hooks.constrain, hooks.unlabelled
        self._ema = _average(model, options.ema, device) if options.ema > 0 else None

    @property
    def result(self) -> nn.Module:
        """What is validated and returned: the average where one is kept, else the network."""
        return self._ema.module if self._ema is not None else self.model

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group."""
        return float(self._scheduler.get_last_lr()[0])

    def groups(self) -> list[list[float]]:
        """Tensors, largest learning rate and weight decay of each of the optimizer's groups."""
        return [
            [len(g["params"]), g["initial_lr"], g["weight_decay"]]
            for g in self._optimizer.param_groups
        ]

    def step(self, images: Tensor, labels: Tensor, of: int | None = None) -> tuple[Tensor, Tensor]:
        """Learn one batch.

        Args:
            images: (n, 3, H, W) float32, normalized, on the device: of several processes this
                one's, part by part.
            labels: (n,) int64; not looked at where the hooks say that there are none.
            of: images of the step, all processes' together; None: these.

        Returns:
            Mean loss and number of right answers, both 0-D on the device; of several processes
            what this one adds to them.
        """
        self.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        of = of or len(images)
        sizes = [len(own) for own in own_of_step(of, self.options.accumulate, of=self._processes)]
        parts = [*zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)]
        told = [
            self._learn(*part, of, last=place == len(parts) - 1) for place, part in enumerate(parts)
        ]
        if self.options.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        before = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # A smaller scale says that float16 overflowed and the step was left out.
        if self._scaler.get_scale() >= before:
            self._scheduler.step()
            if self._constrain is not None:
                self._constrain(self.model)
            if self._ema is not None:
                self._ema.update_parameters(self.model)
        losses, hits = zip(*told, strict=True)
        return torch.stack(losses).sum(), torch.stack(hits).sum()

    def _learn(
        self, images: Tensor, labels: Tensor, of: int, *, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of one part of the ``of`` images of a step.

        Returns:
            What it adds to the mean loss, and its right answers.
        """
        group, share = self._processes, len(images) / of
        with group.passing(self._network, last=last), part_of_step(share):
            with self._autocast(), self._convolutions(), self._watched(), group.normalizing():
                logits = self._network(images)
            logits = logits.float()
            loss, right = self._loss(logits, images, labels)
            # The gradients' mean over all processes is then their sum.
            self._scaler.scale(loss * (share * group.count)).backward()  # type: ignore[no-untyped-call]
        return loss.detach() * share, (logits.detach().argmax(1) == right).sum()

    def _autocast(self) -> torch.autocast:
        precision = self.options.precision
        dtype = DTYPES[precision] if precision != "fp32" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=precision != "fp32")

    def _convolutions(self) -> contextlib.AbstractContextManager[object]:
        if self.device.type == "cpu" and self.options.precision == "fp32":
            return MatmulWeightGradients()
        return contextlib.nullcontext()

    def _loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the classes that count as right."""
        if self._unlabelled:
            return self._distilled(logits, images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
        if self._teacher is None:
            return loss, labels
        weight = self.options.distill
        distilled, _ = self._distilled(logits, images)
        return (1 - weight) * loss + weight * distilled, labels

    def _distilled(self, logits: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's term of the loss, and its answers."""
        assert self._teacher is not None
        with self._autocast():
            return self._teacher.loss(logits, images)

    def _watched(self) -> contextlib.AbstractContextManager[None]:
        return (
            contextlib.nullcontext()
            if self._teacher is None
            else self._teacher.watching(self.model)
        )

    def state(self) -> dict[str, Any]:
        """All that `restore` needs; tensors and plain values only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": _scheduler_state(self._scheduler),
            "scaler": self._scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "rng": rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        check_moments(self._optimizer)
        self._scheduler.load_state_dict(state["scheduler"])
        self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        restore_rng(state["rng"])


def _scheduler_state(scheduler: LambdaLR) -> dict[str, Any]:
    return {k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(scheduler.lr_lambdas)
    }


def _check(options: TrainOptions, device: torch.device, hooks: TrainHooks) -> None:
    if options.precision == "fp16" and device.type != "cuda":
        raise MissingError(
            "precision fp16 needs an NVIDIA GPU to train on, and there is none here",
            "train with precision bf16 or fp32.",
        )
    if hooks.unlabelled and options.distill < 1:
        raise InputError(f"distill {options.distill:g} needs labels too", "set distill to 1.")
    if options.distill > 0 and hooks.teacher is None:
        raise InputError(
            f"distill {options.distill} needs a teacher, and this training has none",
            "set distill to 0; quantization-aware training has the float network as its teacher.",
        )
