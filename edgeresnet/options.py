"""How a network is trained: settings that name themselves when they are wrong; no torch here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from edgeresnet.setting_faults import SettingFaults

OptimizerName = Literal["sgd", "adamw"]
TrainPrecision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "shift", "light", "standard"]
Method = Literal["ptq", "qat", "auto"]
CriterionName = Literal["taylor", "l1", "l2", "bn_scale", "fpgm", "random"]
Pattern = Literal["2:4"]
ObserverName = Literal["mse", "percentile", "ema"]
# Top-1 that method auto may lose where nobody says how much.
AUTO_MAX_DROP = 0.005


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
class PruneOptions:
    """Settings of one pruning; exactly one of the first five is the budget.

    Attributes:
        macs: share of the multiply-accumulates that stays, in (0, 1).
        parameters: share of the parameters that stays.
        latency: share of the INT8 latency that stays, measured.
        latency_ms: INT8 latency of one image, measured.
        pattern: ``2:4``: no channel goes, but two of every four weights become zero.
        target: whose kernels decide on widths and latency.
        device: the hardware it runs on; None: the target's usual one.
        threads: of the target; None leaves the choice to it.
        criterion: what a channel is worth; for ``pattern`` taylor or l1.
        images: of the training data, that channels are scored on.
        step: every width is a multiple of it; None: what was measured for the target, or 16.
        floor: share of a layer's channels that stays at least.
        remove_blocks: let whole blocks go where that costs less.
        iterations: prune and recover so many times, each a part of the way.
        compare_criteria: also show what the other criteria would leave before recovery.
        train: recovery's own training settings, of each iteration.
        seed: of what is drawn for scoring.
    """

    macs: float | None = None
    parameters: float | None = None
    latency: float | None = None
    latency_ms: float | None = None
    pattern: Pattern | None = None
    target: str = "onnx"
    device: str | None = None
    threads: int | None = None
    criterion: CriterionName = "taylor"
    images: int = 1024
    step: int | None = None
    floor: float = 0.125
    remove_blocks: bool = False
    iterations: int = 1
    compare_criteria: bool = False
    train: TrainOptions = field(default=RECOVERY_DEFAULTS)
    seed: int = 0

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.one_of("criterion", self.criterion, CriterionName)
        for name in ("images", "iterations", "step", "threads"):
            faults.at_least(name, getattr(self, name), 1)
        faults.share("floor", self.floor)
        budget = self.budget()
        faults.unless(
            len(budget) == 1,
            f"pruning needs one budget, and there is {' and '.join(budget) or 'none'}",
            "give one of macs, parameters, latency, latency_ms or pattern.",
        )
        for name in ("macs", "parameters", "latency"):
            share = getattr(self, name)
            if share is not None:
                left = "nothing to prune" if share >= 1 else "no network"
                faults.unless(
                    0 < share < 1,
                    f"a budget of {share:g} of the present {name} leaves {left}",
                    "give a share above 0 and below 1, such as 0.5.",
                )
        if self.latency_ms is not None:
            cause = f"latency_ms {self.latency_ms:g} is not positive"
            faults.unless(self.latency_ms > 0, cause, "give latency_ms above 0.")
        if self.pattern is not None:
            faults.one_of("pattern", self.pattern, Pattern)
            faults.unless(
                self.criterion in ("taylor", "l1"),
                f"criterion {self.criterion} scores channels, and {self.pattern} needs scores of "
                "single weights",
                "give criterion taylor or l1.",
            )
        faults.raise_any()

    def budget(self) -> dict[str, float | str]:
        """The budget by its name."""
        names = ("macs", "parameters", "latency", "latency_ms", "pattern")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class QuantizeOptions:
    """Settings of one quantization.

    Attributes:
        method: ``ptq`` calibrates; ``qat`` calibrates, then trains with fake quantization;
            ``auto`` does the second only if the first does not keep the budget.
        observer: what makes a step size of the values seen in calibration.
        calibration_images: of the training data, as many of each class.
        max_drop: budget of any method: top-1 that may be lost, absolute, in [0, 1]. None is no
            budget, but for ``auto``, which needs one and then has 0.005.
        freeze_bn: share of QAT's epochs with live batch normalization; 0 folds it from the
            start, which needs a learning rate ten times smaller.
        train: QAT's own training settings.
        weight_bits: 7 is right on every processor; 8 is finer, and for processors whose 8-bit
            products do not saturate (VNNI, AMX, Arm, GPUs).
        seed: of what is drawn for calibration.
    """

    method: Method = "auto"
    observer: ObserverName = "mse"
    calibration_images: int = 512
    max_drop: float | None = None
    freeze_bn: float = 0.5
    train: TrainOptions = field(default=QAT_DEFAULTS)
    weight_bits: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.one_of("method", self.method, Method)
        faults.one_of("observer", self.observer, ObserverName)
        faults.at_least("calibration_images", self.calibration_images, 1)
        bits = self.weight_bits
        faults.unless(bits in (7, 8), f"weight_bits {bits} is neither 7 nor 8", "give 7 or 8.")
        faults.share("max_drop", self.max_drop)
        faults.share("freeze_bn", self.freeze_bn)
        faults.raise_any()

    @property
    def drop_limit(self) -> float | None:
        """The budget that binds: what was given, else what ``auto`` has by itself."""
        default = AUTO_MAX_DROP if self.method == "auto" else None
        return default if self.max_drop is None else self.max_drop


@dataclass(frozen=True)
class Budgets:
    """Limits that the candidates must keep; None sets none.

    Attributes:
        max_drop: top-1 that may be lost against the baseline, absolute, in [0, 1].
        max_p99_ms: 99th percentile of latency.
        min_speedup: times faster than the row's own reference.
        strict: a budget that its interval leaves undecided counts as missed.
    """

    max_drop: float | None = None
    max_p99_ms: float | None = None
    min_speedup: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.share("max_drop", self.max_drop)
        for name in ("max_p99_ms", "min_speedup"):
            limit = getattr(self, name)
            right = limit is None or 0 < limit < float("inf")
            faults.unless(right, f"{name} {limit} is not positive", f"give {name} above 0.")
        faults.raise_any()

    def given(self) -> list[str]:
        """Names of the limits that are set."""
        names = ("max_drop", "max_p99_ms", "min_speedup")
        return [name for name in names if getattr(self, name) is not None]
