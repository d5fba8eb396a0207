"""A checkpoint's weights as the beginning of another network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from edgeresnet.host.models.checkpoint import Checkpoint


def load_backbone(model: nn.Module, source: Checkpoint) -> list[str]:
    """Copy the weights of ``source`` into ``model``, but for a classifier of other classes.

    Returns:
        Names of the tensors left at their initialisation.

    Raises:
        InputError: the networks differ in more than the classifier.
    """
    own = model.state_dict()
    fitting = {k: v for k, v in source.state_dict.items() if k in own and own[k].shape == v.shape}
    left = [name for name in own if name not in fitting]
    if any(not name.startswith("fc.") for name in left):
        raise InputError(
            f"weights are of {source.arch} with stem {source.stem}, which is not the network to "
            "train",
            f"give --arch {source.arch} and the same stem, or other --weights.",
        )
    model.load_state_dict(fitting, strict=False)
    return left
