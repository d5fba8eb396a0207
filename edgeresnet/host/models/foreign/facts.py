"""What a file, or the file beside it, says of classes, size and normalization."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.strides import stride_said
from edgeresnet.settings.network import StrideIn

# Under which keys of a file more may be said, and in which files beside it.
_SECTIONS = ("meta", "metadata", "args", "config", "cfg", "hyper_parameters", "hparams", "opt",
             "dataset_meta", "pretrained_cfg", "data", "data_config", "transform",
             "normalization", "normalize", "preprocessing", "model_args")  # fmt: skip
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
# In the order in which they are believed.
_CLASS_KEYS = ("class_to_idx", "idx_to_class", "classes", "class_names", "classnames", "id2label",
               "label_names", "categories", "labels", "label2id")  # fmt: skip
_NAME_TO_INDEX = ("class_to_idx", "label2id")
_SIZE_KEYS = ("val_crop_size", "test_input_size", "input_size", "image_size", "img_size", "imgsz",
              "crop_size", "size")  # fmt: skip
_MEAN_KEYS = ("mean", "image_mean", "norm_mean", "pixel_mean", "rgb_mean")
_STD_KEYS = ("std", "image_std", "norm_std", "pixel_std", "rgb_std")
# Said in a description and in no tensor: what a plain ResNet has there, and what others are.
_PLAIN: dict[str, tuple[tuple[Any, ...], str]] = {
    "hidden_act": (("relu",), "another activation than ReLU"),
    "downsample_in_first_stage": ((False,), "a stride in the first level"),
    "output_stride": ((32,), "a network with dilated convolutions"),
    "problem_type": (("single_label_classification",), "a network of several labels at once"),
    "multi_label": ((False, 0), "a network of several labels at once"),
    "multilabel": ((False, 0), "a network of several labels at once"),
}
# Names of networks with a plain ResNet's tensors that pool or dilate otherwise.
_UNSEEN = re.compile(r"(?i)blur|resnet\w*aa|anti_?alias|dilat|deeplab|(^|_)fcn")
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Facts:
    """What is said; None where it is not.

    Attributes:
        classes: names in the order of the logits.
        classes_from: what lists them.
        image_size: height and width in pixels.
        mean: of values in 0 to 1.
        std: of values in 0 to 1.
        stride_in: which convolution of a bottleneck has the stride, and what says so.
        notes: where each is from, and what was said that does not fit.
    """

    classes: tuple[str, ...] | None = None
    image_size: int | None = None
    mean: Three | None = None
    std: Three | None = None
    stride_in: tuple[StrideIn, str] | None = None
    classes_from: str | None = None
    notes: tuple[str, ...] = field(default=())


def read_facts(
    content: Mapping[str, Any],
    path: Path | None,
    outputs: int,
    source: str,
    image_size: int | None = None,
    *,
    stride_told: bool = False,
) -> Facts:
    """Look through a file and the known files beside it; the file itself is believed first.

    Args:
        content: what was read of the file.
        path: where it is; None for what is no file.
        outputs: of the network; a list of another length is not of its classes.
        source: the name, for messages.
        image_size: told by the user; what is said of it is then not looked at.
        stride_told: likewise of the stride.

    Raises:
        InputError: two orders of the same classes are given, an image that is not square, or
            several labels at once.
    """
    said = list(_values(content))
    if path is not None and _is_about(config := _neighbour(path, _CONFIG), outputs):
        said += config + _neighbour(path, _PREPROCESSOR)
    _refuse_others(said, source)
    facts = _classes(said, outputs, source)
    if not stride_told:
        facts = replace(facts, stride_in=stride_said(said, source))
    if image_size is None:
        facts = _size(said, facts, source)
    return _normalization(said, facts)


def _values(
    content: Mapping[Any, Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Every key outside the tensors, those inside the known sections as ``args.classes``."""
    for key, value in content.items():
        name = f"{path}{key}"
        # The arguments of a script have attributes, and no keys.
        plain = isinstance(value, Mapping) or not hasattr(value, "__dict__")
        inner = value if plain else vars(value)
        if isinstance(inner, Mapping) and str(key).lower() in _SECTIONS and depth < 3:
            yield from _values(inner, f"{name}.", depth + 1)
        if not path or value is not None:
            yield name, value


def _neighbour(path: Path, name: str) -> list[tuple[str, Any]]:
    if not (file := path.parent / name).is_file():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # somebody else's file: it need not be about this checkpoint
    if not isinstance(content, dict):
        return []
    return [(f"{name} {key}", value) for key, value in _values(content)]


def _is_about(config: Sequence[tuple[str, Any]], outputs: int) -> bool:
    """Whether a configuration beside the file is of a network with as many outputs."""
    numbers = [v for _, v in _named(config, ("num_classes", "num_labels"))]
    labels = [len(v) for _, v in _named(config, ("id2label",)) if isinstance(v, Mapping)]
    return outputs in (*numbers, *labels)


def _refuse_others(said: Sequence[tuple[str, Any]], source: str) -> None:
    """Networks that only their own description tells from a plain ResNet."""
    for name, value in _named(said, ("arch", "architecture", "model_name", "model")):
        if isinstance(value, str) and _UNSEEN.search(value):
            raise InputError(
                f"{source} says {name}: {value}, which blurs or dilates where no tensor shows it",
                "give a checkpoint of a plain ResNet.",
            )
    for key, (plain, what) in _PLAIN.items():
        for name, value in _named(said, (key,)):
            if value not in plain:
                raise InputError(
                    f"{source} says {name}: {value}, which is {what}",
                    "give a checkpoint of a plain ResNet.",
                )


def _named(said: Sequence[tuple[str, Any]], keys: Sequence[str]) -> list[tuple[str, Any]]:
    """What stands under one of these keys, in the keys' order."""
    return [
        (name, value)
        for key in keys
        for name, value in said
        if re.split(r"[. ]", name)[-1].lower() == key and value is not None
    ]


def _classes(said: Sequence[tuple[str, Any]], outputs: int, source: str) -> Facts:
    fitting: list[tuple[str, tuple[str, ...]]] = []
    notes = []
    for name, value in _named(said, _CLASS_KEYS):
        names = _names_in_order(name, value)
        if names is None or all(re.fullmatch(r"LABEL_\d+", n) for n in names):
            continue  # a number of classes, or names that somebody's library made up
        if len(names) != outputs:
            notes.append(f"{name} lists {len(names)} classes, not the network's {outputs}: unused")
            continue
        fitting.append((name, names))
    if not fitting:
        return Facts(notes=tuple(notes))
    first, classes = fitting[0]
    for name, names in fitting[1:]:
        if names != classes and set(names) == set(classes):
            raise InputError(
                f"{source} gives its classes in two orders: {first} {_shown(classes)}, {name} "
                f"{_shown(names)}",
                "remove the wrong one from the file.",
            )
    listed = (*notes, f"classes as {first} lists them")
    return Facts(classes, classes_from=first, notes=listed)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _names_in_order(name: str, value: Any) -> tuple[str, ...] | None:
    """Names in the order of the logits; None if this is no list of names."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return _strings(list(value))
    if not isinstance(value, Mapping) or not value:
        return None
    pairs = list(value.items())
    key = re.split(r"[. ]", name)[-1].lower()
    by_name = key in _NAME_TO_INDEX or not all(_index(k) is not None for k, _ in pairs)
    if by_name:
        pairs = [(v, k) for k, v in pairs]
    numbered = {_index(k): v for k, v in pairs}
    if sorted(n for n in numbered if n is not None) != list(range(len(pairs))):
        return None
    return _strings([numbered[i] for i in range(len(pairs))])


def _strings(values: Sequence[Any]) -> tuple[str, ...] | None:
    plain = (str, int, np.integer)
    return tuple(map(str, values)) if values and all(isinstance(v, plain) for v in values) else None


def _index(value: Any) -> int | None:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def _size(said: Sequence[tuple[str, Any]], facts: Facts, source: str) -> Facts:
    for name, value in _named(said, _SIZE_KEYS):
        # A bare "size" may be of anything; with height and width it is an image's.
        if (sides := _sides(value)) is None or (
            name.endswith("size")
            and re.split(r"[. ]", name)[-1] == "size"
            and not isinstance(value, Mapping)
        ):
            continue
        if len(set(sides)) > 1:
            raise InputError(
                f"{source} says {name} {sides[0]} x {sides[1]}, and only square images are made",
                "give --image-size N if the network takes N x N too.",
            )
        return replace(facts, image_size=sides[0], notes=(*facts.notes, f"size as {name} says"))
    return facts


def _sides(value: Any) -> tuple[int, int] | None:
    """Height and width of ``224``, ``(224, 224)``, ``(3, 224, 224)`` or their dictionaries."""
    if isinstance(value, Mapping):
        shortest = value.get("shortest_edge")
        value = [value.get("height", shortest), value.get("width", shortest)]
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = [value, value]
    if not isinstance(value, (list, tuple)):
        return None
    sides = [int(v) for v in value[-2:] if isinstance(v, (int, np.integer)) and 8 <= v <= 4096]
    return (sides[0], sides[1]) if len(sides) == 2 and len(value) in (2, 3) else None


def _normalization(said: Sequence[tuple[str, Any]], facts: Facts) -> Facts:
    means = [(n, v) for n, v in _named(said, _MEAN_KEYS) if _three(v)]
    stds = [(n, v) for n, v in _named(said, _STD_KEYS) if _three(v)]
    for name, value in means:
        place = re.split(r"\w+$", name)[0]
        for other, deviation in stds:
            mean, std = _three(value), _three(deviation)
            if not other.startswith(place) or mean is None or std is None or min(std) <= 0:
                continue
            if max(*mean, *std) > 1:  # of values in 0 to 255
                mean, std = _scaled(mean), _scaled(std)
            notes = (*facts.notes, f"mean and std as {name} and {other} say")
            return replace(facts, mean=mean, std=std, notes=notes)
    return facts


def _scaled(values: Three) -> Three:
    return values[0] / 255, values[1] / 255, values[2] / 255


def _three(value: Any) -> Three | None:
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.flatten().tolist()
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return None
    if not all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in value):
        return None
    return float(value[0]), float(value[1]), float(value[2])
