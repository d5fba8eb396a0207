"""What a file, or the file beside it, says of classes, size and preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.class_facts import read_classes
from edgeresnet.host.models.foreign.input_facts import read_inputs
from edgeresnet.host.models.foreign.said import Said, all_said, named, said_beside
from edgeresnet.host.models.foreign.strides import stride_said
from edgeresnet.settings.network import StrideIn

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
    """What is said.

    Attributes:
        classes: names in the order of the logits; None where nothing names them.
        classes_from: what lists them.
        stride_in: which convolution of a bottleneck has the stride, and what says so.
        inputs: what is said of the input, by the names of `InputSpec`.
        notes: where each is from, and what was said that does not fit.
    """

    classes: tuple[str, ...] | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    classes_from: str | None = None
    stride_in: tuple[StrideIn, str] | None = None


def read_facts(
    content: Mapping[str, Any],
    path: Path | None,
    outputs: int,
    source: str,
    told: Mapping[str, Any],
    *,
    stride_told: bool = False,
) -> Facts:
    """Look through a file and the known files beside it; the file itself is believed first.

    Args:
        content: what was read of the file.
        path: where it is; None for what is no file.
        outputs: of the network; a list of another length is not of its classes.
        source: the name, for messages.
        told: by the user, by the names of `InputSpec`; what is said of it is then not looked at.
        stride_told: likewise of the stride.

    Raises:
        InputError: two orders of the same classes or two values of the same setting are given, an
            input that cannot be made, or several labels at once.
    """
    said = all_said(content)
    unused: list[str] = []
    if path is not None:
        beside, unused = said_beside(path, outputs)
        said += beside
    _refuse_others(said, source)
    classes, listed_in, of_classes = read_classes(said, outputs, source)
    stride_in = None if stride_told else stride_said(said, source)
    inputs, of_inputs = read_inputs(said, source, told)
    return Facts(classes, inputs, (*unused, *of_classes, *of_inputs), listed_in, stride_in)


def _refuse_others(said: Sequence[Said], source: str) -> None:
    """Networks that only their own description tells from a plain ResNet."""
    for one in named(said, ("arch", "architecture", "model_name", "model")):
        if isinstance(one.value, str) and _UNSEEN.search(one.value):
            raise InputError(
                f"{source} says {one.name}: {one.value}, which blurs or dilates where no tensor "
                "shows it",
                "give a checkpoint of a plain ResNet.",
            )
    for key, (plain, what) in _PLAIN.items():
        for one in named(said, (key,)):
            if one.value not in plain:
                raise InputError(
                    f"{source} says {one.name}: {one.value}, which is {what}",
                    "give a checkpoint of a plain ResNet.",
                )
