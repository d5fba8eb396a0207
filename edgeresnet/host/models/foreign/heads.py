"""The classifier, under whatever name it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeresnet.errors import InputError

_NO_CLASSIFIER = re.compile(
    r"(?i)(^|[._])(proj\w*|embed\w*|aux\w*|att\w*|gates?|se|rot\w*|ssl|domain\w*|predictor|"
    r"criterion|loss\w*|neck|bbox\w*|mask\w*|queue)([._]|\d*$)"
)


@dataclass(frozen=True)
class Head:
    """The linear layer that gives the logits.

    Attributes:
        weight: (classes, features).
        bias: (classes,).
        names: in the file, of what it was made of.
        notes: lines on what was made of it.
    """

    weight: Tensor
    bias: Tensor
    names: tuple[str, ...]
    notes: tuple[str, ...]


def find_head(rest: Mapping[str, Tensor], source: str, usual: str = "") -> Head | None:
    """The one linear layer among what is not of the network's levels; None where all is of them.

    Args:
        rest: tensors by their names in the file.
        source: the file's name, for messages.
        usual: what the origin's usual head is, where that is another.

    Raises:
        InputError: there is none, there are several, or its name says that it is no classifier.
    """
    linear = [n for n, t in rest.items() if t.ndim == 2 and n.endswith("weight")]
    if len(linear) > 1:
        shapes = ", ".join(f"{n} {tuple(rest[n].shape)}" for n in linear)
        raise InputError(
            f"{source} has {len(linear)} linear layers where a ResNet has one: {shapes} (a head of "
            "more than one layer, or several heads or labels)",
            usual or "train the ResNet with a single linear classifier, and give that checkpoint.",
        )
    if not rest:
        return None
    if not linear:
        others = ", ".join(f"{n} {tuple(t.shape)}" for n, t in list(rest.items())[:3])
        raise InputError(
            f"{source} has no classifier (fc.weight); beside the network it has {others}",
            "give the checkpoint of the whole network; or leave the rest out of the file, and it "
            "is taken for one that gives embeddings.",
        )
    name = linear[0]
    if _NO_CLASSIFIER.search(name):
        raise InputError(
            f"{source} has {name} {tuple(rest[name].shape)} and no other linear layer: its name is "
            "not a classifier's",
            "give the checkpoint of a classifier; if this is one, rename the tensor to fc.weight.",
        )
    return _whole(rest, name)


def _whole(rest: Mapping[str, Tensor], name: str) -> Head:
    weight, notes = rest[name], []
    bias_name = f"{name.removesuffix('weight')}bias"
    bias = rest.get(bias_name)
    names = (name,) if bias is None else (name, bias_name)
    if bias is None:
        bias = torch.zeros(weight.shape[0])
        notes.append(f"{name} has no bias")
    if weight.shape[0] == 1 and bias.shape == (1,):
        # The sigmoid of z is the softmax of (0, z).
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
        notes.append("its one output z taken as two classes with the logits 0 and z")
    return Head(weight, bias, names, tuple(notes))
