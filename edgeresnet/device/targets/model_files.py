"""What a bare model file tells of itself, read by the runtime that would run it; without torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.device.machine.watch import watched
from edgeresnet.device.targets.classifier import TensorInfo
from edgeresnet.device.targets.model_facts import ModelFacts
from edgeresnet.device.targets.protocol import Target
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.spec import BareFiles, Checked
from edgeresnet.errors import InputError
from edgeresnet.settings.measuring import RunOptions

# What only whoever made the model knows.
UNKNOWN = (
    "normalization_folded",
    "arch",
    "stem",
    "stride_in",
    "classes",
    "widths",
    "pruning",
    "data",
)


def target_of_file(path: Path) -> Target | None:
    """The target whose bare model files have this suffix; None if there is none."""
    return next(
        (
            t
            for t in TARGETS.values()
            if (own := t.spec.bare_files) and path.suffix.lower() in own.suffixes
        ),
        None,
    )


def reader_of(path: Path) -> tuple[Target, BareFiles]:
    """The target of a bare model file, and how it reads it; InputError if it is no target's."""
    target = target_of_file(path)
    if target is None or target.spec.bare_files is None:
        kinds = [own for t in TARGETS.values() if (own := t.spec.bare_files)]
        suffixes = [suffix for own in kinds for suffix in own.suffixes]
        raise InputError(f"{path} is no model file", f"give one of {', '.join(suffixes)}.")
    if path.is_file():
        check_is_text(path, "a model", f"give the {path.suffix.lower()} file itself.")
    return target, target.spec.bare_files


def is_model_file(path: Path) -> bool:
    """Whether this is a bare model, by its suffix."""
    return target_of_file(path) is not None and not path.is_dir()


def check_model(path: Path) -> Checked:
    """Refuse a model file, bare or of a bundle, before any runtime opens it.

    Returns:
        What it may need, by which its first run is bounded.

    Raises:
        InputError: it has what no image classifier has, see the ``check`` of its kind of files.
    """
    target = target_of_file(path)
    if target is None or target.spec.bare_files is None:
        return Checked(path.stat().st_size)
    return target.spec.bare_files.check(path)


def describe_model(
    path: Path, image_size: int | None = None, *, limit_s: float = RunOptions().first_run_limit_s
) -> dict[str, Any]:
    """The JSON contract of ``inspect``, with null for what a bare model does not tell.

    Args:
        path: the file.
        image_size: for a model that leaves it open.
        limit_s: that loading and running it once may take.

    Raises:
        InputError: not there, nothing that its runtime reads, or of another image size.
        MissingError: its runtime is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist", "check the path.")
    target, files = reader_of(path)
    checked = check_model(path)
    size_bytes = max(checked.input_bytes, 3 * 4 * (image_size or 0) ** 2)
    with watched(path, limit_s, model_bytes=checked.model_bytes, input_bytes=size_bytes):
        facts = files.describe(path, image_size)
    layers, size = facts.layers, _image_size(facts.inputs)
    check_size(path, size, image_size)
    return {
        **dict.fromkeys(UNKNOWN),
        "image_size": size,
        "parameters": facts.parameters or _sum(layers, "parameters"),
        "macs": _sum(layers, "macs"),
        "target": target.spec.name,
        "precision": files.precision(path),
        "opset": facts.opset,
        "size_bytes": _size_bytes(path, facts),
        "inputs": _listed(facts.inputs),
        "outputs": _listed(facts.outputs),
        "operators": dict(Counter(facts.operators).most_common()),
        "layers": layers,
    }


def check_size(what: object, own: int | None, image_size: int | None) -> None:
    """Refuse an image size that a model has not.

    Raises:
        SizeIsFixedError: it has another.
    """
    if image_size is not None and own != image_size:
        raise SizeIsFixedError(
            f"{what} takes images of {own or 'no one size'}, so --image-size {image_size} has no "
            "effect",
            "leave it out, or export the model for that size.",
        )


class SizeIsFixedError(InputError):
    """An image size was given for a model that has its own."""


def _listed(tensors: list[TensorInfo] | None) -> list[dict[str, Any]] | None:
    return None if tensors is None else [tensor.to_dict() for tensor in tensors]


def _sum(layers: list[dict[str, Any]], key: str) -> int | None:
    values = [layer[key] for layer in layers]
    return sum(values) if values and None not in values else None


def _image_size(inputs: list[TensorInfo] | None) -> int | None:
    """The side of the one square input, whichever layout it has."""
    if inputs is None or len(inputs) != 1 or inputs[0].shape is None:
        return None
    sides = [side for side in inputs[0].shape[1:] if side not in (1, 3, None)]
    return sides[0] if len(sides) == 2 and sides[0] == sides[1] else None


def _size_bytes(path: Path, facts: ModelFacts) -> int:
    weights = facts.weights_path
    beside = weights.stat().st_size if weights is not None and weights.is_file() else 0
    return path.stat().st_size + beside
