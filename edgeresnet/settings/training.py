"""How a network is trained: settings that name themselves when they are wrong; no torch here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from edgeresnet.settings.faults import SettingFaults

OptimizerName = Literal["sgd", "adamw"]
TrainPrecision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "shift", "light", "standard"]


@dataclass(frozen=True)
class TrainOptions:
    """Settings of one training.

    Attributes:
        epochs: passes over the training data.
        batch_size: images a step, two or more; batches are made even, so none is a remnant.
        lr: largest learning rate, reached at the end of the warm-up.
        optimizer: ``sgd`` (Nesterov) or ``adamw``.
        momentum: of SGD; AdamW's first beta.
        weight_decay: of weights; biases, normalization and step sizes (1-D) have none.
        warmup: share of all steps in which the learning rate rises; then it falls as a cosine.
        label_smoothing: share of the target spread over all classes.
        ema: decay of the weights' moving average, which is then what is returned; 0 for none.
        precision: of the forward pass; weights stay fp32.
        clip_norm: largest L2 norm of the gradient; None leaves it.
        patience: stop where the best validated epoch is so many epochs ago, and return its weights;
            looked at right after each validation, so below ``validate_every`` the first validation
            without progress stops. None trains on and returns the last.
        validate_every: epochs between validations; the last epoch always has one.
        distill: weight of the teacher's term; the labels' has the rest.
        temperature: softens teacher and student for distillation.
        seed: of everything random.
        augment: ``none``; ``flip``, left to right; ``shift``; ``light``, both; ``standard``, with
            random crops, and from 128 px up with colour jitter. Digits and letters must not be
            flipped: ``shift``.
        workers: decoding processes where the data does not fit into memory; None chooses.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.0
    precision: TrainPrecision = "fp32"
    clip_norm: float | None = None
    patience: int | None = None
    validate_every: int = 1
    distill: float = 0.0
    temperature: float = 2.0
    seed: int = 0
    augment: Augment = "standard"
    workers: int | None = None

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.one_of("optimizer", self.optimizer, OptimizerName)
        faults.one_of("precision", self.precision, TrainPrecision)
        faults.one_of("augment", self.augment, Augment)
        faults.at_least("epochs", self.epochs, 1)
        # One image has no spread for batch normalization to divide by.
        faults.at_least("batch_size", self.batch_size, 2)
        faults.at_least("patience", self.patience, 1)
        faults.at_least("validate_every", self.validate_every, 1)
        faults.at_least("workers", self.workers, 0)
        faults.at_least("weight_decay", self.weight_decay, 0)
        faults.at_least("seed", self.seed, 0)
        for name in ("lr", "temperature", "clip_norm"):
            value = getattr(self, name)
            right = value is None or 0 < value < float("inf")
            faults.unless(right, f"{name} {value} is not positive", f"give {name} above 0.")
        for name in ("warmup", "label_smoothing", "ema", "momentum"):
            value = getattr(self, name)
            faults.unless(
                0 <= value < 1, f"{name} {value} is not in [0, 1)", f"give {name} below 1."
            )
        faults.unless(
            0 <= self.distill <= 1,
            f"distill {self.distill} is not in [0, 1]",
            "give distill from 0 (off) to 1.",
        )
        faults.raise_any()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for provenance."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


QAT_DEFAULTS = TrainOptions(
    epochs=3,
    lr=0.01,
    weight_decay=1e-4,
    warmup=0.1,
    label_smoothing=0.0,
    distill=0.5,
    augment="light",
)


RECOVERY_DEFAULTS = TrainOptions(
    epochs=20,
    lr=0.05,
    weight_decay=1e-4,
    label_smoothing=0.0,
    distill=0.5,
    augment="light",
)


@dataclass(frozen=True)
class ModelSettings:
    """The network.

    Attributes:
        arch: a ResNet's name.
        stem: ``imagenet`` or ``small``; None chooses by image size.
        weights: checkpoint to begin with, or to quantize if the recipe has no ``train``.
    """

    arch: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet18"
    stem: Literal["imagenet", "small"] | None = None
    weights: str | None = None
