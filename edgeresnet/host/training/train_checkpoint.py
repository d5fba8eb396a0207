"""Data and an architecture in, a trained checkpoint out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, drawn_by_name, fingerprint
from edgeresnet.device.data.open import say_conversions
from edgeresnet.device.data.remembered import known_by, placed
from edgeresnet.device.data.shared_images import shared_line
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.machine.process_environment import openmp_waiting
from edgeresnet.device.measure.doubts import collapse_doubts
from edgeresnet.errors import InputError
from edgeresnet.host.models.backbone import load_backbone
from edgeresnet.host.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
)
from edgeresnet.host.models.resnet import Widths, arch_of, build_resnet, check_has_choice
from edgeresnet.host.models.validation import predict_logits
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.host.training.fit import TrainResult, fit
from edgeresnet.host.training.randomness import seed_everything
from edgeresnet.host.training.splits import open_splits
from edgeresnet.host.training.step import TrainHooks
from edgeresnet.progress import OnStep, TaskContext
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges, InputSpec
from edgeresnet.settings.network import USUAL_STRIDE
from edgeresnet.settings.training import DEFAULT_ARCH, ModelSettings, TrainOptions

# What the data's own images suggest; photographs get ImageNet's size.
IMAGE_SIZES = {"digits": 16, "fashion-mnist": 28, "cifar10": 32}
PHOTO_SIZE = 224
SMALL_STEM_TO = 64
# Images on which a trained network's answers are looked at.
LOOKED_AT = 256


@dataclass(frozen=True, eq=False)
class _Start:
    """What a training begins with."""

    model: ResNet
    arch: str
    stem: str
    widths: Widths
    stride_in: str
    input_spec: InputSpec
    resume_key: str
    assumed: str | None


def train_checkpoint(
    settings: ModelSettings,
    options: TrainOptions,
    *,
    image_size: int | None = None,
    inputs: InputChanges = NO_CHANGES,
    context: TaskContext,
) -> tuple[Checkpoint, TrainResult]:
    """Train from scratch, or fine-tune from weights.

    Args:
        settings: ``arch`` (None: that of ``weights``, else ``resnet18``); ``stem`` (None: that of
            ``weights``, else ``small`` up to 64 px and ``imagenet`` above) and ``stride_in``;
            ``weights``, a checkpoint of any origin to begin with, whose widths, mean and std are
            kept, and its classifier where the number of classes is the same.
        options: of the training.
        image_size: in pixels; None: that of ``weights``, else what suits the data.
        inputs: what is told of the preprocessing, over what ``weights`` say.
        context: the data, which no checkpoint remembers yet; what else every task needs.

    Raises:
        InputError: data, weights or options are not usable or do not go together.
        MissingError: a package that reads the data is not installed.
        CheckError: training diverged.
    """
    if context.data is None:
        raise InputError("there is no data to train on", "give --data, e.g. --data photos.")
    train_set, val_set = _open(context)
    start = _start(settings, options, image_size, inputs, context, len(train_set.classes))
    shared = _said([shared_line(val_set, train_set, "training")], context)
    model, spec = start.model, start.input_spec
    result = fit(
        model, train_set, val_set, spec, options,
        hooks=TrainHooks(on_figures=partial(context.on_figures, "training")),
        resume_path=context.resume_path,
        resume_key=start.resume_key,
        progress=context.progress,
    )  # fmt: skip
    doubts = [*shared, *_said(_answer_doubts(start, val_set), context)]
    told = {"doubts": doubts, "weights_assumed": start.assumed}
    checkpoint = Checkpoint(
        start.arch,
        start.stem,
        start.widths,
        tuple(train_set.classes),
        spec,
        result.state_dict,
        data=placed(context.data),
        data_fingerprint=known_by(context.data),
        provenance={
            **_provenance(settings, options, train_set, val_set, result),
            "conversions": say_conversions([train_set, val_set], context.on_step),
            **{name: said for name, said in told.items() if said},
        },
        stride_in=start.stride_in,
    )
    return checkpoint, result


def _answer_doubts(start: _Start, val_set: Dataset) -> list[str]:
    """What there is to say against the trained network's answers to some of the images."""
    drawn = drawn_by_name(val_set, LOOKED_AT, seed=0)
    logits, labels = predict_logits(start.model, drawn, start.input_spec)
    # That it is no better than guessing is in its top-1, and the training's own matter.
    return collapse_doubts(logits, labels, val_set.classes)


def _said(doubts: Sequence[str | None], context: TaskContext) -> list[str]:
    """Those that there are, told."""
    told = [doubt for doubt in doubts if doubt is not None]
    for doubt in told:
        context.on_step(doubt)
    return told


def _provenance(
    settings: ModelSettings,
    options: TrainOptions,
    train_set: Dataset,
    val_set: Dataset,
    result: TrainResult,
) -> dict[str, Any]:
    """Where the weights come from."""
    return {
        "trained_with": versions(),
        "seed": options.seed,
        "options": options.to_dict(),
        "weights": settings.weights,
        "data_fingerprint": fingerprint(train_set),
        "train_images": len(train_set),
        "val_images": len(val_set),
        "skipped": len(train_set.skipped) + len(val_set.skipped),
        "epochs_run": result.epochs_run,
        "top1": result.top1,
        "threads": result.threads,
        "openmp_waiting": openmp_waiting(),
    }


def _open(context: TaskContext) -> tuple[Dataset, Dataset]:
    """Both splits; a line about what was left out."""
    train_set, val_set = open_splits(context)
    broken = [*train_set.skipped, *val_set.skipped]
    if broken:
        shown = ", ".join(broken[:3]) + (" …" if len(broken) > 3 else "")
        context.on_step(f"left out {len(broken)} unreadable images: {shown}")
    return train_set, val_set


def _start(
    settings: ModelSettings,
    options: TrainOptions,
    image_size: int | None,
    inputs: InputChanges,
    context: TaskContext,
    classes: int,
) -> _Start:
    """The network with its first weights."""
    # Before the network is made: its first weights are random too.
    seed_everything(options.seed)
    weights = settings.weights
    if weights is None and settings.raw:
        raise InputError("--raw is of weights to begin with, and none are given", "leave it out.")
    start = (
        None
        if weights is None
        else _starting_point(settings, weights, image_size, inputs, context.on_step)
    )
    arch = start.arch if start else settings.arch or DEFAULT_ARCH
    size = image_size or default_input_size(context.data)
    spec = start.input_spec if start else inputs.over(InputSpec(image_size=size))
    stem = start.stem if start else settings.stem or default_stem(spec.image_size)
    stride_in = start.stride_in if start else settings.stride_in or USUAL_STRIDE
    if settings.stride_in is not None:
        check_has_choice(arch_of(arch))
    widths = start.widths if start else Widths.dense(arch)
    model = build_resnet(arch, classes, stem, widths, stride_in)
    if start is not None:
        load_backbone(model, start)
    # As it was before there was a choice.
    strides = "" if stride_in == USUAL_STRIDE else f"{stride_in} "
    key = f"{arch} {stem} {strides}{weights_digest(start.state_dict if start else {})}"
    assumed = None if start is None else start.provenance.get("assumed")
    return _Start(model, arch, stem, widths, stride_in, spec, key, assumed)


def _starting_point(
    settings: ModelSettings,
    weights: str,
    image_size: int | None,
    inputs: InputChanges,
    on_step: OnStep,
) -> Checkpoint:
    arch = settings.arch_told
    start = load_checkpoint(
        weights,
        arch=arch,
        image_size=image_size,
        inputs=inputs,
        raw=settings.raw,
        network=settings.network,
        on_step=on_step,
    )
    if arch is not None and start.arch != arch:
        raise InputError(
            f"weights {weights} are of {start.arch}, not {arch}",
            f"give --arch {start.arch}, or other --weights.",
        )
    if start.precision != "fp32":
        raise InputError(
            f"weights {weights} are quantized ({start.precision})",
            "give the float checkpoint that they were made of.",
        )
    return start


def default_input_size(data: str | None) -> int:
    """Height and width in pixels of a new network's input; of a photograph's where None."""
    return IMAGE_SIZES.get(data or "", PHOTO_SIZE)


def default_stem(image_size: int) -> str:
    """The first layers of a new network for inputs of so many pixels in height and width."""
    return "small" if image_size <= SMALL_STEM_TO else "imagenet"
