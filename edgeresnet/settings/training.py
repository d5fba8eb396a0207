"""Which network is trained, and how; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from edgeresnet.settings.base import MOST_BATCH, MOST_SEED, MOST_TIMES, fault, settings
from edgeresnet.settings.foreign import RawWeights
from edgeresnet.settings.network import NetworkTold, StemTold, StrideInTold

Arch = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
DEFAULT_ARCH: Arch = "resnet18"
OptimizerName = Literal["sgd", "adamw"]
TrainPrecision = Literal["fp32", "bf16", "fp16"]
Augment = Literal["none", "flip", "shift", "light", "standard"]
# What came later than the rest, and its value where nobody says it.
LATER: Mapping[str, object] = MappingProxyType(
    {"distill_features": 0.0, "accumulate": 1, "deterministic": False, "compile": False}
)
Seed = Annotated[int, Field(ge=0, le=MOST_SEED, description="Seed of everything random.")]


@settings
class TrainOptions:
    """Settings of one training."""

    epochs: int = Field(
        default=30, ge=1, le=MOST_TIMES, description="Passes over the training data."
    )
    # One image has no spread for batch normalization to divide by.
    batch_size: int = Field(
        default=128,
        ge=2,
        le=MOST_BATCH,
        description="Images in a training step; batches are made even in size.",
    )
    lr: float = Field(
        default=0.1,
        gt=0,
        le=1000,
        description="Largest learning rate, reached at the end of the warm-up.",
    )
    optimizer: OptimizerName = Field(
        default="sgd", description="Optimizer: SGD with Nesterov momentum, or AdamW."
    )
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Momentum of SGD, and AdamW's first beta."
    )
    weight_decay: float = Field(
        default=5e-4,
        ge=0,
        le=1000,
        description="Weight decay; biases, normalization and step sizes have none.",
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of all steps in which the learning rate rises, before it falls as a "
        "cosine.",
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the target that is spread over all classes."
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of the weights' moving average, which is then the result; 0 for none.",
    )
    precision: TrainPrecision = Field(
        default="fp32", description="Precision of the forward pass; the weights stay fp32."
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=MOST_BATCH // 2,
        repr=False,
        description="Parts that the images of a training step are computed in, one after the "
        "other; their gradients are added up. Takes less memory for the same batch size; batch "
        "normalization sees each part by itself.",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, le=1e6, description="Largest L2 norm of the gradient; left out: any."
    )
    # Looked at right after each validation, so below validate_every the first validation without
    # progress stops.
    patience: int | None = Field(
        default=None,
        ge=1,
        le=MOST_TIMES,
        description="Stop where the best validated epoch is so many epochs ago, and keep that one; "
        "left out: train on, and keep the last.",
    )
    validate_every: int = Field(
        default=1,
        ge=1,
        le=MOST_TIMES,
        description="Epochs between validations; the last epoch always has one.",
    )
    distill: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight of the teacher's term in the loss; the labels' term has the rest.",
    )
    temperature: float = Field(
        default=2.0,
        ge=0.001,
        le=1000,
        description="Temperature that softens teacher and student in distillation.",
    )
    distill_features: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        repr=False,  # an interrupted pruning, which has none, is recognised by its text
        description="Weight of what the network's four levels give, against what the teacher's "
        "give, beside the answers in the teacher's term; both have the same channels. Quantization "
        "only.",
    )
    seed: Seed = 0
    augment: Augment = Field(
        default="standard",
        description="How training images are varied: flip mirrors, shift moves, light does both, "
        "standard has random crops and colour jitter too. Digits and letters must not be "
        "mirrored: shift.",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="Decoding processes where the data does not fit into memory; left out: as many "
        "as suit the machine.",
    )
    deterministic: bool = Field(
        default=False,
        repr=False,
        description="Use only kernels that give the same each time, on a GPU too, where some are "
        "slower. On a CPU the same number of threads gives the same anyway.",
    )
    compile: bool = Field(
        default=False,
        repr=False,
        description="Let PyTorch's compiler fuse what lies between the convolutions. The first "
        "step takes a minute or more, the others less time where quantization-aware training runs "
        "on a CPU (GPUs were not tried). Needs a C++ compiler.",
    )

    @field_validator("accumulate")
    @classmethod
    def _has_parts_of_two(cls, parts: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if parts > 1 and batch_size is not None and batch_size < 2 * parts:
            raise fault(
                f"accumulate {parts} of batch_size {batch_size} leaves parts of one image, which "
                "has no spread for batch normalization to divide by",
                f"give accumulate {max(1, batch_size // 2)} or fewer, or a larger batch_size.",
            )
        return parts

    @field_validator("distill_features")
    @classmethod
    def _has_a_teacher(cls, weight: float, info: ValidationInfo) -> float:
        if weight > 0 and info.data.get("distill") == 0:
            raise fault(
                f"distill_features {weight:g} would have no effect: distill 0 asks no teacher",
                "give distill too, such as 1, or leave it out.",
            )
        return weight

    @field_validator("compile")
    @classmethod
    def _looks_into_no_levels(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted and info.data.get("distill_features", 0) > 0:
            raise fault(
                "compile fuses the levels that distill_features looks into",
                "leave one of the two out.",
            )
        return wanted

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what came later is there only where it is given, so that keys stay."""
        values = asdict(self)
        for name, unsaid in LATER.items():
            if values[name] == unsaid:
                del values[name]
        return values


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


def given_over(defaults: TrainOptions) -> BeforeValidator:
    """Plain values are put over these defaults: what is unsaid depends on what a training is for.

    Args:
        defaults: taken whole where nothing, or None, is given.
    """

    def over(values: Any) -> Any:
        if values is None:
            return defaults
        return {**asdict(defaults), **values} if isinstance(values, Mapping) else values

    return BeforeValidator(over)


@settings
class ModelSettings:
    """The network."""

    arch: Arch | None = Field(
        default=None,
        description="Architecture of the network; left out: that of the weights, else resnet18.",
    )
    stem: StemTold = None
    stride_in: StrideInTold = None
    weights: str | None = Field(
        default=None,
        description="Checkpoint to begin with, or torchvision:ARCH:WEIGHTS; a recipe that trains "
        "nothing quantizes it as it is.",
    )
    raw: RawWeights = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the keys of stages; what came later is there only where it is given."""
        values = {**asdict(self), "arch": self.arch or DEFAULT_ARCH}
        for name, unsaid in (("raw", False), ("stride_in", None)):
            if values[name] == unsaid:
                del values[name]
        return values

    @property
    def arch_told(self) -> Arch | None:
        """The architecture where weights have to be told theirs, or are to be held against it."""
        published = self.weights is not None and self.weights.count(":") == 1
        unsaid = published and str(self.weights).startswith("torchvision:")
        return self.arch or (DEFAULT_ARCH if unsaid else None)

    @property
    def network(self) -> NetworkTold:
        """What is told of the network of ``weights``."""
        return NetworkTold(self.stem, self.stride_in)
