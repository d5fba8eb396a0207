"""What a file, or the file beside it, says of classes, size and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeresnet.host.models.foreign.class_facts import classes_beside, read_classes
from edgeresnet.host.models.foreign.input_facts import read_inputs
from edgeresnet.host.models.foreign.other_networks import refuse_others
from edgeresnet.host.models.foreign.said import all_said, said_beside
from edgeresnet.host.models.foreign.strides import stride_said
from edgeresnet.settings.network import StrideIn

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
    refuse_others(said, source)
    classes, listed_in, of_classes = read_classes(said, outputs, source)
    if classes is None and path is not None:
        classes, listed_in, of_files = classes_beside(path, outputs)
        of_classes += of_files
    stride_in = None if stride_told else stride_said(said, source)
    inputs, of_inputs = read_inputs(said, source, told)
    return Facts(classes, inputs, (*unused, *of_classes, *of_inputs), listed_in, stride_in)
