"""Weights that torchvision publishes."""

from __future__ import annotations

from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import ARCHS


def default_image_size(stem: str) -> int:
    """Input size when nobody says it."""
    return 32 if stem == "small" else 224


def fetch_torchvision(source: str, arch: str | None) -> tuple[dict[str, Any], list[str]]:
    """Weights by torchvision's name, downloaded by torchvision, with their class names."""
    from torchvision.models import get_model_weights

    parts = source.split(":")
    name, weights_name = (arch, parts[1]) if len(parts) == 2 else (parts[1], parts[-1])
    if name is None or name not in ARCHS or len(parts) > 3:
        raise InputError(
            f"{source} does not say which ResNet",
            "write it as torchvision:resnet50:IMAGENET1K_V2.",
        )
    known = get_model_weights(name).__members__
    if weights_name not in known:
        raise InputError(
            f"torchvision has no weights {weights_name} for {name}",
            f"give one of {', '.join(known)}.",
        )
    weights = known[weights_name]
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise InputError(
            f"{source} could not be fetched: {error}",
            "check the network, or download the file elsewhere and give its path.",
        ) from error
    return dict(tensors), list(weights.meta["categories"])
