"""How models are run, measured and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from edgeresnet.errors import InputError
from edgeresnet.settings.base import MOST_BATCH, MOST_IMAGES, MOST_TIMES, settings
from edgeresnet.settings.foreign import RawWeights
from edgeresnet.settings.inputs import LARGEST_IMAGE
from edgeresnet.settings.network import NetworkTold, StemTold, StrideInTold

DeviceName = Annotated[
    str | None,
    Field(
        description="Hardware to run on: cpu, gpu, npu, dla0, or a chip such as sm8650; left out: "
        "the target's usual one."
    ),
]
Threads = Annotated[
    int | None,
    Field(ge=1, le=4096, description="CPU threads; left out: the runtime's choice."),
]
Limit = Annotated[
    int | None,
    Field(
        ge=1,
        le=MOST_IMAGES,
        description="Take only so many images: for validation a draw by name, the same on every "
        "machine; for training even over classes.",
    ),
]
ClassOrderName = Literal["sorted", "natural"]
ClassOrder = Annotated[
    ClassOrderName | None,
    Field(
        description="How the training put the class folders in order, of a model without class "
        "names: sorted as text (10 before 2, as torchvision's ImageFolder) or natural (by number)."
    ),
]
ClassNames = Annotated[
    str | None,
    Field(
        description="File of the model's class names in the order of its outputs: a name a line, "
        "JSON list, JSON object of index and name, or CSV."
    ),
]
MaxDrop = Annotated[
    float | None,
    Field(ge=0, le=1, description="Budget: top-1 that may be lost, absolute, from 0 to 1."),
]
MaxDisagreement = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="Budget: share of the images that may be answered otherwise than by the float "
        "network (compare: the baseline), from 0 to 1; needs no labels.",
    ),
]


MaxClassDrop = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="Budget: top-1 that the worst class may lose, absolute, from 0 to 1; its "
        "interval is right whichever class that is.",
    ),
]


AllImages = Annotated[
    bool,
    Field(description="Answer all images, though fewer decide the budgets of accuracy."),
]


@settings
class FastestOptions:
    """Where INT8 is compared with the float precisions that a device has."""

    target: str = Field(description="Target on which INT8 and float are timed.")
    device: DeviceName = None
    threads: Threads = None


@settings
class CompareSettings:
    """How a run measures its bundles."""

    device: DeviceName = None
    threads: Threads = None
    rounds: int = Field(
        default=200, ge=2, le=MOST_TIMES, description="Timed runs of each model, or more."
    )
    limit: Limit = None
    all_images: AllImages = False
    fastest: bool = Field(
        default=False,
        description="Say of each target whether INT8 is faster there than the float precisions "
        "that its device has, which are exported and compared too, and mark the fastest.",
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what came later is there only where it is given."""
        values = asdict(self)
        if not self.fastest:
            del values["fastest"]
        return values


PresetName = Literal["quick", "default", "mlperf"]


@settings
class ProfileSettings:
    """How long and in which ways a model is profiled."""

    preset: PresetName = Field(
        default="default",
        description="How long: quick (half a second a row), default (2 s), or mlperf (60 s of "
        "single inferences, at least 1024, told by their p90, then 60 s of throughput offline).",
    )
    sweep_threads: str | None = Field(
        default=None, description="Numbers of CPU threads to measure one after another, as 1,2,4."
    )
    concurrency: str | None = Field(
        default=None,
        description="How many runs are under way at once, one after another as 1,2,4: by the "
        "runtime's own queue where it has one (openvino), else by a thread each (onnx).",
    )
    cpus: str | None = Field(
        default=None,
        description="Logical processors to run on, such as 0-3,8 (Linux); left out: all that this "
        "process may use.",
    )


@settings
class Budgets:
    """Limits that the candidates must keep; None sets none."""

    max_drop: MaxDrop = None
    max_class_drop: MaxClassDrop = None
    max_disagreement: MaxDisagreement = None
    max_p99_ms: float | None = Field(
        default=None, gt=0, description="Budget: 99th percentile of latency in ms."
    )
    min_speedup: float | None = Field(
        default=None, gt=0, description="Budget: times as fast as the reference, at least."
    )
    strict: bool = Field(
        default=False,
        description="A budget left undecided by its interval, or a doubt, counts as missed.",
    )

    def given(self) -> list[str]:
        """Names of the limits that are set."""
        names = (*OF_ACCURACY, "max_p99_ms", "min_speedup")
        return [name for name in names if getattr(self, name) is not None]

    def of_accuracy(self) -> dict[str, float]:
        """The limits that are set of what the models answer, by name."""
        return {name: getattr(self, name) for name in self.given() if name in OF_ACCURACY}


# Budgets of what the models answer; the first two need labels.
OF_ACCURACY = ("max_drop", "max_class_drop", "max_disagreement")


def check_without_labels(
    max_drop: float | None, data: str, *, max_class_drop: float | None = None
) -> None:
    """Refuse a budget of top-1 on images without labels.

    Raises:
        InputError: there is one.
    """
    option = "--max-class-drop" if max_drop is None else "--max-drop"
    if max_drop is not None or max_class_drop is not None:
        raise InputError(
            f"{option} is of top-1, which needs labels, and data {data} has none",
            "give --max-disagreement instead, the share of images that may be answered otherwise "
            "than by the float network, or labelled images.",
        )


def check_all_images(all_images: bool, limits: Mapping[str, float]) -> None:
    """Refuse to ask for all images where nothing would have left any out.

    Args:
        all_images: whether they are asked for.
        limits: of the budgets of accuracy that are given, by name.

    Raises:
        InputError: there is none.
    """
    if all_images and not limits:
        raise InputError(
            "--all-images has no effect: without a budget of accuracy all images are answered",
            "leave it out, or give a budget, such as --max-drop 0.01.",
        )


@settings
class RunOptions:
    """How a session runs."""

    threads: Threads = None
    batch: int | None = Field(
        default=None,
        ge=1,
        le=MOST_BATCH,
        description="Images in a run; fixes a batch dimension that is open.",
    )
    concurrency: int = Field(
        default=1, ge=1, le=1024, description="Runs that are under way at once."
    )
    profile_layers: bool = Field(
        default=False, description="Let the runtime time its layers, which slows it down."
    )
    precision: str | None = Field(
        default=None,
        description="What floats are computed in where the runtime chooses: fp32, fp16 or bf16.",
    )
    # What other runtimes' answers are held against.
    as_written: bool = Field(
        default=False,
        description="Run every operator of the file by itself and fuse none, which is slow.",
    )
    cuda_graph: bool = Field(
        default=True,
        description="Launch the whole network at once, where the runtime has CUDA graphs "
        "(tensorrt).",
    )
    spin_wait: bool = Field(
        default=False,
        description="Wait for the GPU by polling: answers sooner and keeps a core busy (tensorrt).",
    )
    allow_fallback: bool = Field(
        default=False, description="The CPU may run what the device cannot."
    )
    image_size: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_IMAGE,
        description="Height and width of an input that leaves them open.",
    )
    trust: str | None = Field(
        default=None,
        description="Public key (Ed25519): open only bundles that its owner has signed, with "
        "engines of this user's own cache.",
    )
    # Of a bundle whose manifest tells several; of any other model one output is looked for.
    outputs: tuple[str, ...] = Field(default=(), description="Names of all outputs of the model.")
    # Of a trusted bundle; else they lie beside the model.
    engine_dir: Path | None = Field(default=None, description="Where the model's engines lie.")
    first_run_limit_s: float = Field(
        default=120,
        gt=0,
        le=86400,
        description="Seconds that loading a model on the processor, and its first run anywhere, "
        "may take each; a model that is not done then is refused.",
    )
    raw: RawWeights = False
    stem: StemTold = None
    stride_in: StrideInTold = None

    @property
    def network(self) -> NetworkTold:
        """What is told of a foreign checkpoint's network."""
        return NetworkTold(self.stem, self.stride_in)

    def of_no_checkpoint(self) -> RunOptions:
        """Without what is told of checkpoints alone."""
        return replace(self, raw=False, stem=None, stride_in=None)
