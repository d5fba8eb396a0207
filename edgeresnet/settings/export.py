"""How bundles are made and engines built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edgeresnet.errors import InputError


@dataclass(frozen=True)
class ExportSettings:
    """Bundles to make: every target in every precision that it has.

    Attributes:
        batch: one size, or smallest:best:largest.
        embed_preprocess: uint8 NHWC input, normalization in the graph.
    """

    targets: Annotated[
        tuple[Literal["onnx", "openvino", "tensorrt", "qnn"], ...], Field(min_length=1)
    ] = ("onnx", "openvino")
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("fp32", "int8")
    batch: str | int = 1
    embed_preprocess: bool = False


# "int8+fp16" is INT8 with half precision around it, where the graph itself says so: TensorRT.
# "w8a16" has 8-bit weights and 16-bit activations: QNN.
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8+fp16", "w8a16"]


@dataclass(frozen=True)
class BatchRange:
    """Which batch sizes a model takes, and which it is best at."""

    smallest: int
    best: int
    largest: int

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
                f"batch {text} is not a size or a range",
                "give --batch 1, or smallest:best:largest such as --batch 1:8:32.",
            )
        return cls(*numbers)

    @property
    def dynamic(self) -> bool:
        """Whether the batch dimension stays open."""
        return self.smallest != self.largest


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is compiled; only TensorRT has such choices.

    Attributes:
        batch: smallest, best and largest, for a model that leaves it open.
        input_shape: of one input, where the compiler has to be told; as in `Session`.
        sparse: the weights are 2:4 sparse, so kernels for that may be used.
        workspace_mib: memory that kernels may use at most; None leaves it to the runtime.
        version_compatible: to load in later versions of the runtime too.
        hardware_compatible: to load on other GPUs, from Ampere on, too.
        gpu_fallback: the GPU may run what the DLA cannot.
    """

    batch: tuple[int, int, int] | None = None
    input_shape: tuple[int, int, int] | None = None
    sparse: bool = False
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    gpu_fallback: bool = False


ONE_IMAGE = BatchRange(1, 1, 1)


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        batch: sizes that the model takes.
        embed_preprocess: uint8 NHWC input, normalization in the graph.
        golden_images: how many inputs travel with their logits.
    """

    batch: BatchRange = ONE_IMAGE
    embed_preprocess: bool = False
    golden_images: int = 8
