"""How a network is quantized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeresnet.settings.faults import SettingFaults
from edgeresnet.settings.training import QAT_DEFAULTS, TrainOptions

Method = Literal["ptq", "qat", "auto"]


ObserverName = Literal["mse", "percentile", "ema"]


# Top-1 that method auto may lose where nobody says how much.
AUTO_MAX_DROP = 0.005


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
