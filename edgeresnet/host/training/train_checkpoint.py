"""The training stage: a DATA SPEC and an architecture in, a checkpoint out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from edgeresnet.device.data.dataset import Dataset, fingerprint
from edgeresnet.device.machine.environment import versions
from edgeresnet.device.machine.process_environment import openmp_waiting
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import (
    Checkpoint,
    load_backbone,
    load_checkpoint,
    weights_digest,
)
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.training.fit import TrainResult, fit
from edgeresnet.host.training.splits import open_splits
from edgeresnet.host.training.step import seed_everything
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import TrainOptions

# What the data's own images suggest; photographs get ImageNet's size.
IMAGE_SIZES = {"digits": 16, "fashion-mnist": 28, "cifar10": 32}
PHOTO_SIZE = 224
SMALL_STEM_TO = 64


def train_checkpoint(
    *,
    data: str,
    arch: str,
    stem: str | None,
    image_size: int | None,
    weights: str | None,
    options: TrainOptions,
    limit: int | None,
    skip_broken: bool,
    resume_path: Path | None,
    progress: bool,
) -> tuple[Checkpoint, TrainResult]:
    """Train from scratch, or fine-tune from ``weights``.

    Args:
        data: DATA SPEC.
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        stem: None: that of ``weights``, else ``small`` up to 64 px and ``imagenet`` above.
        image_size: in pixels; None: that of ``weights``, else what suits the data.
        weights: checkpoint of any origin to begin with; its widths, mean and std are kept, and
            its classifier where the number of classes is the same.
        options: of the training.
        limit: images of each split.
        skip_broken: leave unreadable images out, and say how many.
        resume_path: see `edgeresnet.host.training.fit.fit`; the caller removes it when the
            checkpoint is safe.
        progress: report on stderr.

    Raises:
        InputError: data, weights or options are not usable or do not go together.
        MissingError: a package that reads the data is not installed.
        CheckError: training diverged.
    """
    train_set, val_set = _open(data, limit, skip_broken=skip_broken, progress=progress)
    # Before the network is made: its first weights are random too.
    seed_everything(options.seed)
    start = None if weights is None else _starting_point(weights, arch, image_size)
    spec = start.input_spec if start else InputSpec(image_size or IMAGE_SIZES.get(data, PHOTO_SIZE))
    if stem is None:
        stem = start.stem if start else _default_stem(spec.image_size)
    widths = start.widths if start else Widths.dense(arch)
    model = build_resnet(arch, len(train_set.classes), stem, widths)
    if start is not None:
        load_backbone(model, start)
    result = fit(
        model,
        train_set,
        val_set,
        spec,
        options,
        resume_path=resume_path,
        resume_key=f"{arch} {stem} {weights_digest(start.state_dict if start else {})}",
        progress=progress,
    )
    provenance = {
        "trained_with": versions(),
        "seed": options.seed,
        "options": options.to_dict(),
        "weights": weights,
        "data_fingerprint": fingerprint(train_set),
        "train_images": len(train_set),
        "val_images": len(val_set),
        "skipped": len(train_set.skipped) + len(val_set.skipped),
        "epochs_run": result.epochs_run,
        "top1": result.top1,
        "threads": result.threads,
        "openmp_waiting": openmp_waiting(),
    }
    checkpoint = Checkpoint(
        arch,
        stem,
        widths,
        tuple(train_set.classes),
        spec,
        result.state_dict,
        data=data,
        provenance=provenance,
    )
    return checkpoint, result


def _open(
    data: str, limit: int | None, *, skip_broken: bool, progress: bool
) -> tuple[Dataset, Dataset]:
    """Both splits; a line on stderr about what was left out."""
    train_set, val_set = open_splits(data, limit=limit, skip_broken=skip_broken)
    broken = [*train_set.skipped, *val_set.skipped]
    if broken and progress:
        shown = ", ".join(broken[:3]) + (" …" if len(broken) > 3 else "")
        text = f"left out {len(broken)} unreadable images: {shown}"
        Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
    return train_set, val_set


def _starting_point(weights: str, arch: str, image_size: int | None) -> Checkpoint:
    start = load_checkpoint(weights, arch=arch, image_size=image_size)
    if start.arch != arch:
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


def _default_stem(image_size: int) -> str:
    return "small" if image_size <= SMALL_STEM_TO else "imagenet"
