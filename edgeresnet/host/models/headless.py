"""A network without a classifier: what it gives is the pooled embedding, and nothing to answer."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from edgeresnet.device.targets.outputs import POOL
from edgeresnet.errors import InputError
from edgeresnet.host.models.float_layers import CLASSIFIER
from edgeresnet.host.models.quant_resnet import QuantLinear, QuantResNet
from edgeresnet.settings.export import in_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchvision.models import ResNet

    from edgeresnet.settings.export import ExportOptions

HEAD = ("fc.weight", "fc.bias")


def leave_head_out(model: ResNet) -> None:
    """Make the network, in place, give what its classifier would have read, (N, channels)."""
    model.fc = cast(nn.Linear, nn.Identity())


def has_head(model: nn.Module) -> bool:
    """Whether a network, float or fake-quantized, gives logits; one that is no ResNet does."""
    return not isinstance(getattr(model, "fc", None), nn.Identity)


def classes_among(tensors: Mapping[str, Tensor]) -> int:
    """How many classes a network of these tensors has; 0 without a classifier."""
    return int(tensors[HEAD[0]].shape[0]) if HEAD[0] in tensors else 0


def check_has_classes(classes: Sequence[str], what: str, fix: str) -> None:
    """Refuse what is nothing without classes.

    Args:
        classes: the checkpoint's; none where it has no classifier.
        what: the work, as the beginning of the message.
        fix: what to do instead.

    Raises:
        InputError: it has no classifier.
    """
    if not classes:
        raise InputError(
            f"{what} needs classes, and the checkpoint has no classifier: it gives embeddings", fix
        )


def options_of_headless(model: QuantResNet, options: ExportOptions) -> ExportOptions:
    """The options as they are of a network with a classifier; else without logits.

    A network without a classifier gives the features that are asked for, else its embedding.
    """
    if has_head(model):
        return options
    return replace(options, features=options.features or in_order([POOL]), logits=False)


def with_head(model: QuantResNet) -> QuantResNet:
    """A copy with a classifier of one class, where there is none.

    By the classifier that reads the embedding a graph is cut where it is given; what stands behind
    the cut is left out. It is in float where the embedding is on no grid.
    """
    own = copy.deepcopy(model)
    if not has_head(model):
        channels = own.convolutions()[-1].weight.shape[0]
        linear = nn.Linear(channels, 1)
        with torch.no_grad():
            linear.weight.fill_(1)
        own.fc = QuantLinear(linear, own.conv1.weight_quant.kind)
        own.fc.weight_quant.idle = own.pool_quant.idle
    return own


def floats_in_graph(model: QuantResNet) -> frozenset[str]:
    """The layers and adds that are float in the canonical graph, that of `with_head` too."""
    added = not has_head(model) and model.pool_quant.idle
    return model.computed_in_float.union([CLASSIFIER] if added else [])
