"""How bundles are made and engines built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from edgeresnet.errors import InputError
from edgeresnet.settings.base import MOST_BATCH, RecordHost, fault, settings
from edgeresnet.untrusted import short

EmbedPreprocess = Annotated[
    bool,
    Field(description="The model takes uint8 NHWC pixels, and normalizes them inside its graph."),
]

# Of targets and precisions in a recipe; there are fewer.
MOST_CHOICES = 32
# Runs on any machine.
DEFAULT_TARGET = "onnx"


FeatureName = Literal["C2", "C3", "C4", "C5", "pool"]
FEATURES: tuple[FeatureName, ...] = get_args(FeatureName)
# By whose nearest neighbours a bundle without logits is judged.
EMBEDDING: FeatureName = "pool"


def features_of(text: str) -> tuple[FeatureName, ...]:
    """``"C3,C5,pool"`` as names, in the network's order.

    Raises:
        InputError: one of them is no feature, or is named twice.
    """
    named = [part.strip() for part in text.split(",")]
    wrong = next((name for name in named if name not in FEATURES or named.count(name) > 1), None)
    if wrong is not None:
        twice = "named twice" if wrong in FEATURES else "no feature of a ResNet"
        raise InputError(
            f"{short(wrong) or 'an empty name'} is {twice}",
            f"give --features some of {','.join(FEATURES)}, each once.",
        )
    return in_order(named)


def in_order(named: Iterable[str]) -> tuple[FeatureName, ...]:
    """Features in the network's order."""
    wanted = set(named)
    return tuple(name for name in FEATURES if name in wanted)


@settings
class BatchRange:
    """Which batch sizes a model takes, and which it is best at."""

    smallest: int = Field(ge=1, le=MOST_BATCH, description="Smallest batch size.")
    best: int = Field(ge=1, le=MOST_BATCH, description="Batch size to be fastest at.")
    largest: int = Field(ge=1, le=MOST_BATCH, description="Largest batch size.")

    @classmethod
    def parse(cls, text: str | int) -> BatchRange:
        """``"1"`` for one size, ``"1:8:32"`` for smallest, best and largest."""
        try:
            numbers = [int(part) for part in str(text).split(":")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            numbers *= 3
        if len(numbers) != 3 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
            raise InputError(
                f"batch {short(text)} is not a size or a range",
                "give --batch 1, or smallest:best:largest such as --batch 1:8:32.",
            )
        smallest, best, largest = numbers
        return cls(smallest=smallest, best=best, largest=largest)

    @property
    def dynamic(self) -> bool:
        """Whether the batch dimension stays open."""
        return self.smallest != self.largest


ONE_IMAGE = BatchRange(smallest=1, best=1, largest=1)


def _a_range(text: str | int) -> str | int:
    try:
        BatchRange.parse(text)
    except InputError as error:
        raise fault(error.cause, error.fix) from None
    return text


def _in_order(named: tuple[FeatureName, ...]) -> tuple[FeatureName, ...]:
    if len(set(named)) < len(named):
        raise fault("a feature is named twice", "name each once.")
    return in_order(named)


@settings
class ExportSettings:
    """Bundles to make: every target in every precision that it has."""

    targets: tuple[str, ...] = Field(
        default=("onnx", "openvino"),
        min_length=1,
        max_length=MOST_CHOICES,
        description="Targets to make bundles for.",
    )
    precisions: tuple[str, ...] = Field(
        default=("fp32", "int8"),
        min_length=1,
        max_length=MOST_CHOICES,
        description="Precisions to make bundles in, where the target has them: fp32, fp16, bf16, "
        "int8, int8+fp16 (INT8 with half precision around it), w8a16 (16-bit activations).",
    )
    batch: Annotated[str | int, AfterValidator(_a_range)] = Field(
        default=1, description="Batch sizes: one, or smallest:best:largest as 1:8:32."
    )
    embed_preprocess: EmbedPreprocess = False
    features: Annotated[tuple[FeatureName, ...], AfterValidator(_in_order)] = Field(
        default=(),
        description="Tensors that the bundles give beside the logits: C2 to C5 (what each level "
        "hands on) and pool (the embedding).",
    )
    logits: bool = Field(
        default=True,
        description="Give the logits; false leaves the classifier out of the bundles, which then "
        "are judged by pool.",
    )
    for_device: str | None = Field(
        default=None,
        description="Processor that INT8 is for: a file that devices --json wrote there, or any, "
        "which is right on every one; left out: this machine's.",
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what came later is there only where it is given."""
        values = asdict(self)
        if not self.features:
            del values["features"]
        if self.logits:
            del values["logits"]
        return values

    @field_validator("logits")
    @classmethod
    def _leaves_an_answer(cls, logits: bool, info: ValidationInfo) -> bool:
        if not logits and EMBEDDING not in info.data.get("features", (EMBEDDING,)):
            raise fault(
                "false leaves nothing that the bundles can be judged by: without logits it is the "
                f"nearest neighbours of {EMBEDDING}",
                f"add {EMBEDDING} to export.features.",
            )
        return logits


@settings
class ExportOptions:
    """How one bundle is made."""

    batch: BatchRange = Field(default=ONE_IMAGE, description="Batch sizes that the model takes.")
    embed_preprocess: EmbedPreprocess = False
    golden_images: int = Field(
        default=8, ge=1, le=4096, description="Inputs that travel in the bundle with their logits."
    )
    features: tuple[FeatureName, ...] = Field(
        default=(),
        description="Tensors to give beside the logits: C2 to C5 (what each level hands on, at "
        "strides 4 to 32 with the usual stem) and pool (the embedding, which the classifier "
        "reads).",
    )
    logits: bool = Field(
        default=True, description="Give the logits; without them the classifier is left out."
    )
    record_host: RecordHost = False


@settings
class BuildOptions:
    """How an engine is compiled; only TensorRT has such choices."""

    batch: tuple[int, int, int] | None = Field(
        default=None,
        description="Smallest, best and largest batch size, for a model that leaves it open.",
    )
    input_shape: tuple[int, int, int] | None = Field(
        default=None,
        description="Shape of one input, where the compiler has to be told; as the session has it.",
    )
    sparse: bool = Field(
        default=False, description="The weights are 2:4 sparse: kernels for that may be used."
    )
    workspace_mib: int | None = Field(
        default=None,
        ge=1,
        le=2**24,
        description="Memory that kernels may use at most, in MiB; left out: the runtime's choice "
        "(tensorrt).",
    )
    version_compatible: bool = Field(
        default=False,
        description="Make an engine that loads in later versions of the runtime too (tensorrt).",
    )
    hardware_compatible: bool = Field(
        default=False,
        description="Make an engine that loads on other GPUs, from Ampere on, too (tensorrt).",
    )
    gpu_fallback: bool = Field(
        default=False, description="The GPU may run what the DLA cannot (tensorrt)."
    )
