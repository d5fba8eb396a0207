"""How a network is quantized."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edgeresnet.errors import InputError
from edgeresnet.settings.base import MOST_IMAGES, settings
from edgeresnet.settings.measuring import (
    OF_ACCURACY,
    AllImages,
    MaxClassDrop,
    MaxDisagreement,
    check_all_images,
    check_without_labels,
)
from edgeresnet.settings.training import QAT_DEFAULTS, Seed, TrainOptions, given_over

# The ladder, the cheapest first: each is a file in host/quantization/rungs.
RungName = Literal["ptq", "observer", "equalize", "adaround", "mixed", "qat", "qat-distill"]
TRAINING: tuple[RungName, ...] = ("qat", "qat-distill")
Method = Literal[RungName, "auto"]
# What a training may begin with: rungs whose findings are of the float network.
StartName = Literal["ptq", "observer", "equalize"]
# What these come to depends on the budget, so without one they have their own.
SEEKING: tuple[Method, ...] = ("auto", "mixed")
ObserverName = Literal["minmax", "ema", "percentile", "entropy", "mse"]
USUAL_CALIBRATION_IMAGES = 512
# Top-1 that they may lose where nobody says how much.
AUTO_MAX_DROP = 0.005
# Share of answers that may change with method auto where there are no labels.
AUTO_MAX_DISAGREEMENT = 0.02

LayerName = Annotated[str, Field(min_length=1, max_length=60)]


def _split(names: Any) -> Any:
    """Of a command line: names with commas between them."""
    return tuple(names.split(",")) if isinstance(names, str) else names


@settings
class QuantizeOptions:
    """Settings of one quantization."""

    method: Method = Field(
        default="auto",
        description="How to quantize: ptq calibrates; observer tries every observer and keeps the "
        "one that answers most like the float network; equalize evens out channels inside the "
        "blocks and corrects biases; adaround learns which way to round each weight; mixed "
        "keeps the fewest layers in float that the budget needs; qat trains with fake "
        "quantization, qat-distill on the float network's answers alone. auto climbs these, and "
        "stops at the first that keeps the budget.",
    )
    observer: ObserverName = Field(
        default="mse",
        description="What makes a step size of the values that are seen in calibration: their "
        "maximum, its moving average, a percentile, or the clip point of the least divergence "
        "(entropy) or squared error.",
    )
    calibration_images: int | None = Field(
        default=None,
        ge=1,
        le=MOST_IMAGES,
        description="Images of the training data to calibrate with, as many of each class; left "
        f"out: {USUAL_CALIBRATION_IMAGES}, and with method auto as many as it takes until the step "
        "sizes settle.",
    )
    max_drop: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Budget: top-1 that may be lost, absolute, from 0 to 1; left out: none, and "
        f"{AUTO_MAX_DROP} with method auto or mixed. Needs labels.",
    )
    max_class_drop: MaxClassDrop = None
    max_disagreement: MaxDisagreement = None
    all_images: AllImages = False
    freeze_bn: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the epochs of quantization-aware training with live batch "
        "normalization; 0 folds it from the start, which needs a learning rate ten times smaller.",
    )
    start: StartName = Field(
        default="ptq",
        description="Rung that method qat or qat-distill begins with: the observer that it finds, "
        "the channels that it evens out. auto begins with the rung that came nearest to the float "
        "network.",
    )
    train: Annotated[TrainOptions, given_over(QAT_DEFAULTS)] = Field(
        default=QAT_DEFAULTS, description="Settings of quantization-aware training."
    )
    weight_bits: int = Field(
        default=8,
        ge=4,
        le=8,
        description="Bits of the weights. 8 are finest: where 8-bit products saturate (x86 without "
        "VNNI) export takes 7 in the layers that need it, and says what that costs; 7 trains for "
        "such a processor from the start; 4 to 6 are for what a file takes once it is compressed, "
        "and lose more: train (--method qat). The first convolution and the classifier have at "
        "least 7.",
    )
    float_layers: Annotated[tuple[LayerName, ...], BeforeValidator(_split)] | None = Field(
        default=None,
        description="Layers that stay float whatever the method, as conv1,fc: convolutions by the "
        "names that inspect shows, and fc. Each costs time; method mixed finds out which are "
        "needed.",
    )
    seed: Seed = 0

    def without_labels(self, data: str) -> QuantizeOptions:
        """These for images without labels: a training learns from the float network alone.

        Args:
            data: what to call the images in a message.

        Raises:
            InputError: an option needs labels.
        """
        check_without_labels(self.max_drop, data, max_class_drop=self.max_class_drop)
        return self.from_float_alone(f"labels, and data {data} has none")

    def from_float_alone(self, needed: str) -> QuantizeOptions:
        """These where a training has nothing to learn from but the float network.

        Args:
            needed: what a loss of its own would take, as the end of a message.

        Raises:
            InputError: an option needs that.
        """
        if not self.trains:
            return self
        if self.train.distill == 0 or self.train.label_smoothing > 0:
            key = "label_smoothing" if self.train.distill else "distill 0"
            raise InputError(
                f"{key} in quantization-aware training needs {needed}",
                "leave it out: without them the float network's answers are learned.",
            )
        return replace(self, train=replace(self.train, distill=1.0))

    def check_all_images(self) -> None:
        """Refuse to ask for all images where nothing would have left any out.

        Raises:
            InputError: no budget binds.
        """
        check_all_images(self.all_images, self.limits(labelled=True))

    def check_start(self) -> None:
        """Refuse a rung to begin with where no training is asked for by its name.

        Raises:
            InputError: nothing would begin there.
        """
        if self.start != "ptq" and self.method not in TRAINING:
            raise InputError(
                f"--start {self.start} would have no effect: method {self.method} finds out by "
                "itself where to begin, or trains nothing",
                f"leave it out, or give --method {' or '.join(TRAINING)}.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the keys of stages; what is left out as older versions said it."""
        values = {**asdict(self), "train": self.train.to_dict()}
        values["calibration_images"] = self.calibration_images or USUAL_CALIBRATION_IMAGES
        # What came later is there only where it is given.
        for name, unsaid in (
            ("all_images", False), ("max_class_drop", None), ("start", "ptq"),
            ("float_layers", None),
        ):  # fmt: skip
            if values[name] == unsaid:
                del values[name]
        return values

    @property
    def trains(self) -> bool:
        """Whether a network may be trained."""
        return self.method == "auto" or self.method in TRAINING

    def limits(self, *, labelled: bool) -> dict[str, float]:
        """The budgets that bind, by name: what was given, else what `SEEKING` have by themselves.

        Args:
            labelled: whether the data says what is right; if not, only agreement can be measured.
        """
        told = {name: getattr(self, name) for name in OF_ACCURACY}
        given = {name: limit for name, limit in told.items() if limit is not None}
        if given or self.method not in SEEKING:
            return given
        if labelled:
            return {"max_drop": AUTO_MAX_DROP}
        return {"max_disagreement": AUTO_MAX_DISAGREEMENT}
