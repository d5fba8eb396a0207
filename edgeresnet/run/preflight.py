"""What a run needs, checked before its first step, so that nothing is refused after hours of work.

Names and values that cannot be are bad input; what is known and not on this machine is missing. A
device that only the comparison needs is neither: the run does the rest, and `Checked.elsewhere`
says why that device's bundles are not measured here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.data.class_names import read_class_names
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.standard import standard_files
from edgeresnet.device.machine.cpp_compiler import check_cpp_compiler
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.presence import why_not_here
from edgeresnet.device.targets.registry import TARGETS, check_device_name, target_of
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.places import from_home
from edgeresnet.run.device_commands import has_threads
from edgeresnet.run.export_checks import check_exports
from edgeresnet.run.fastest import check_fastest_of
from edgeresnet.run.folder import check_folder
from edgeresnet.run.judged import check_without_logits
from edgeresnet.run.recipe_faults import Faults
from edgeresnet.settings.measuring import check_all_images, check_without_labels
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import TrainOptions

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.run.recipe import Recipe

# What training, quantizing and exporting import, by the names of the modules.
HOST_MODULES = ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript")
HOST_FIX = "pip install 'edgeresnet[host]'"
TORCHVISION = "torchvision:"
DOWNLOADED = ("fashion-mnist", "cifar10")


@dataclass(frozen=True)
class Checked:
    """What the check of a run has opened, and which devices are elsewhere.

    Attributes:
        train_set: as the stages will open it.
        val_set: likewise.
        elsewhere: targets whose device is not here, and why.
    """

    train_set: Dataset
    val_set: Dataset
    elsewhere: Mapping[str, str]


def check_run(recipe: Recipe, run_dir: Path, records: str) -> Checked:
    """Check everything that a run of this recipe will execute.

    Args:
        recipe: as loaded.
        run_dir: the run's folder, which need not exist.
        records: name of the folder in it by which a run is recognised.

    Raises:
        InputError: lists all faults, if one of them is a name or value that cannot be.
        MissingError: lists what is not installed or not in this machine.
    """
    faults = faults_of(recipe)
    with faults.of("-o"):
        check_folder(run_dir, records)
    train_set, val_set = _open_data(recipe, faults)
    faults.raise_any(f"recipe {recipe.name}")
    assert train_set is not None
    assert val_set is not None
    return Checked(train_set, val_set, devices_elsewhere(recipe))


def faults_of(recipe: Recipe, weights_key: str = "model.weights") -> Faults:
    """All faults but those of the data, whose opening may take its time.

    Args:
        recipe: of one network.
        weights_key: the key of the recipe that its weights stand under.
    """
    faults = Faults()
    check_exports(recipe, faults)
    with faults.of("compare.threads"):
        known = [name for name in recipe.export.targets if name in TARGETS]
        if recipe.compare.threads and not has_threads(known, recipe.compare.device):
            raise InputError("none of these targets' devices has CPU threads", "leave it out.")
    with faults.of("compare.all_images"):
        check_all_images(recipe.compare.all_images, recipe.budgets.of_accuracy())
    with faults.of("compare.fastest"):
        check_fastest_of(recipe)
    with faults.of("quantize.all_images"):
        recipe.quantize.check_all_images()
    with faults.of("quantize.start"):
        recipe.quantize.check_start()
    if recipe.prune is not None:
        with faults.of("prune"):
            check_prune(recipe.prune)
    with faults.of(weights_key):
        _check_weights(recipe.model.weights)
    with faults.of("class_order"):
        _check_class_names(recipe)
    _check_trainings(recipe, faults)
    lacking = [name for name in HOST_MODULES if importlib.util.find_spec(name) is None]
    if lacking:
        with faults.of("host"):
            raise MissingError(f"{', '.join(lacking)} not installed", HOST_FIX)
    return faults


def fault_lines(recipe: Recipe) -> list[str]:
    """`faults_of` as texts: what `load_recipe` asks for beside the faults that it knows itself."""
    return faults_of(recipe).lines()


def check_prune(options: PruneOptions) -> None:
    """Check where a pruning is to be measured.

    Raises:
        InputError: target or device is not known.
        MissingError: the budget is one of latency, and the device is not here or only emulated.
    """
    target = target_of(options.target)
    device = options.device or target.spec.default_device
    check_device_name(device)
    check_device_name(device, target)
    if options.latency is None and options.latency_ms is None:
        return
    why = why_not_here(target, device, timed=True)
    if why is not None:
        raise MissingError(
            f"a budget of latency is measured on {target.spec.name}'s {device}: {why}",
            "prune to --macs or --parameters here, or to latency where that device is.",
        )


def _check_weights(weights: str | None) -> None:
    if weights is None:
        return
    if weights.startswith(TORCHVISION):
        parts = weights.split(":")
        if len(parts) > 3 or not all(parts):
            raise InputError(
                f"{weights} does not say which weights",
                "write it as torchvision:IMAGENET1K_V2 or torchvision:resnet50:IMAGENET1K_V2.",
            )
    elif not Path(weights).expanduser().is_file():
        raise InputError(f"checkpoint {weights} does not exist", "check the path.")


def _check_class_names(recipe: Recipe) -> None:
    """What is said of classes must have a model that does not say it itself."""
    if recipe.classes is not None:
        read_class_names(from_home(recipe.classes))
    if recipe.train is not None and (recipe.class_order or recipe.classes):
        raise InputError(
            "a network that is trained here has the classes of its data",
            "leave class_order and classes out, or train out, to take model.weights as they are.",
        )


def _check_trainings(recipe: Recipe, faults: Faults) -> None:
    """Training settings that this machine or this place in a run does not allow."""
    trainings: dict[str, TrainOptions] = {}
    if recipe.train is not None:
        trainings["train"] = recipe.train
    if recipe.prune is not None:
        trainings["prune.train"] = recipe.prune.train
    if any(map(is_quantized, recipe.export.precisions)) and recipe.quantize.trains:
        trainings["quantize.train"] = recipe.quantize.train
    for key, options in trainings.items():
        with faults.of(f"{key}.precision"):
            if options.precision == "fp16" and not _has_nvidia_gpu():
                raise MissingError(
                    "precision fp16 needs an NVIDIA GPU to train on, and there is none here",
                    "train with precision bf16 or fp32.",
                )
        with faults.of(f"{key}.compile"):
            if options.compile:
                check_cpp_compiler()
    with faults.of("train.distill"):
        if recipe.train is not None and recipe.train.distill > 0:
            raise InputError(
                f"distill {recipe.train.distill:g} needs a teacher, and the first training has "
                "none",
                "set it to 0; pruning's recovery and quantization-aware training have one.",
            )


def _has_nvidia_gpu() -> bool:
    try:
        import torch
    except ImportError:
        # Told already: a host without torch trains nothing.
        return True
    return torch.cuda.is_available()


def _open_data(recipe: Recipe, faults: Faults) -> tuple[Dataset | None, Dataset | None]:
    """Both splits; what has to be fetched first is not, for a run that will be refused."""
    opened: list[Dataset | None] = [None, None]
    if faults.by_key and recipe.data in DOWNLOADED and not standard_files(recipe.data, "train"):
        return None, None
    with faults.of("data"):
        # What trains learns from labels, but quantization-aware training.
        unlabelled = recipe.train is None and recipe.prune is None
        opened[0] = open_dataset(recipe.data, "train", limit=recipe.limit, unlabelled=unlabelled)
        val_set = open_dataset(recipe.data, "val", limit=recipe.limit, unlabelled=unlabelled)
        opened[1] = val_set
        if not is_labelled(val_set):
            _check_without_labels(recipe, faults)
    return opened[0], opened[1]


def _check_without_labels(recipe: Recipe, faults: Faults) -> None:
    """What a recipe says that needs labels."""
    with faults.of("budgets.max_drop"):
        check_without_labels(recipe.budgets.max_drop, recipe.data)
    with faults.of("budgets.max_class_drop"):
        check_without_labels(None, recipe.data, max_class_drop=recipe.budgets.max_class_drop)
    with faults.of("quantize"):
        recipe.quantize.without_labels(recipe.data)
    with faults.of("export.logits"):
        check_without_logits(recipe)
    with faults.of("class_order"):
        if recipe.class_order is not None:
            raise InputError(
                f"no effect: data {recipe.data} has no class folders",
                "leave it out, or give classes, a file of the names.",
            )


def devices_elsewhere(recipe: Recipe) -> dict[str, str]:
    """Targets of the recipe whose device is not in this machine, and why it cannot measure."""
    budgets = recipe.budgets
    timed = budgets.max_p99_ms is not None or budgets.min_speedup is not None
    timed |= recipe.compare.fastest
    elsewhere: dict[str, str] = {}
    for name in recipe.export.targets:
        target = target_of(name)
        why = why_not_here(target, recipe.compare.device or target.spec.default_device, timed=timed)
        if why is not None:
            elsewhere[name] = why
    return elsewhere
