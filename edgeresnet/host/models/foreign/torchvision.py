"""Weights that torchvision publishes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeresnet.device.data.preprocess import resized_to
from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import ARCHS
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.network import stem_shape


def default_image_size(stem: str) -> int:
    """Input size when nobody says it: the more the first layers keep, the smaller the images."""
    return {1: 32, 2: 64}.get(stem_shape(stem).reduction, 224)


def fetch_torchvision(source: str, arch: str | None) -> tuple[dict[str, Any], list[str]]:
    """Weights by torchvision's name, downloaded by torchvision, with their class names."""
    weights = _weights(source, arch)
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise InputError(
            f"{source} could not be fetched: {error}",
            "check the network, or download the file elsewhere and give its path.",
        ) from error
    return dict(tensors), list(weights.meta["categories"])


def published_inputs(source: str, arch: str | None) -> InputSpec:
    """How torchvision's weights were measured: by their own transforms."""
    told = _weights(source, arch).transforms()
    (size,), (shorter,) = told.crop_size, told.resize_size
    spec = InputSpec(
        size, tuple(told.mean), tuple(told.std), interpolation=told.interpolation.value
    )
    return spec if resized_to(spec, 1, 1) == (shorter, shorter) else replace(spec, resize=shorter)


def _weights(source: str, arch: str | None) -> Any:
    """The member of torchvision's enumeration that a name means."""
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
    return known[weights_name]
