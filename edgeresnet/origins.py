"""Checkpoints from elsewhere: what is in the file, and which ResNet it is.

Architecture, stem, widths and class count are read off the tensors; nobody has to say them.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.model import ARCHS, STAGES, Widths, build_resnet

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema_state_dict", "weights")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.", "network.")


@dataclass(frozen=True)
class Identity:
    """What the tensors say about themselves."""

    arch: str
    stem: str
    widths: Widths


def default_image_size(stem: str) -> int:
    """Input size when nobody says it."""
    return 32 if stem == "small" else 224


def read_tensors(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file, without running anything that it carries."""
    if not path.exists():
        raise InputError(f"checkpoint {path} does not exist", "check the path.")
    if path.is_dir():
        raise InputError(f"checkpoint {path} is a folder", "give the file in it.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            # A pickle of another protocol is refused or read, whatever torch says about it.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} is damaged or is no checkpoint: {str(error).splitlines()[0]}",
            "copy or download the file again.",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not a state_dict",
            "save model.state_dict() and give that file.",
        )
    return content


def _refused(path: Path, error: pickle.UnpicklingError) -> InputError:
    named = re.search(r"(?:GLOBAL |global:? )`?([\w.]+)", str(error))
    if named is None:
        return InputError(
            f"{path} is damaged or is no checkpoint: {str(error).splitlines()[0]}",
            "copy or download the file again.",
        )
    return InputError(
        f"{path} is a pickle that runs code ({named[1]}) when it is loaded, which is refused",
        "where you trust the file, load it yourself and save only the weights: "
        "torch.save(model.state_dict(), 'weights.pth').",
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}", "copy or download it again.") from error
    return tensors


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


def strip_wrappers(content: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The state_dict in a training framework's container, with its prefixes taken off."""
    for key in CONTAINERS:
        inner = content.get(key)
        if isinstance(inner, dict) and any(isinstance(v, Tensor) for v in inner.values()):
            content = inner
            break
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise InputError(
            f"{source} holds no tensors (its keys: {', '.join(map(str, list(content)[:5]))})",
            "save model.state_dict() and give that file.",
        )
    stripped = True
    while stripped and "conv1.weight" not in tensors:
        stripped = False
        for prefix in PREFIXES:
            if f"{prefix}conv1.weight" in tensors or _all_start(tensors, prefix):
                tensors = {
                    k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
                }
                stripped = True
    return tensors


def _all_start(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in tensors)


def identify(tensors: dict[str, Tensor], source: str) -> Identity:
    """Read architecture, stem and widths off the tensors, and check that all fit.

    Tensors that a ResNet does not have (a loss's, a counter) are dropped from ``tensors``.
    """
    _refuse_relatives(tensors, source)
    depths = tuple(_blocks(tensors, stage) for stage in STAGES)
    bottleneck = "layer1.0.conv3.weight" in tensors
    fitting = [a for a in ARCHS.values() if (a.depths, a.bottleneck) == (depths, bottleneck)]
    if not fitting:
        kind = "bottleneck" if bottleneck else "basic"
        raise InputError(
            f"{source} is a ResNet with {depths} {kind} blocks, which none of "
            f"{', '.join(ARCHS)} has",
            "give a checkpoint of one of these.",
        )
    arch = fitting[0].name
    stem = "imagenet" if tensors["conv1.weight"].shape[-1] == 7 else "small"
    widths = _check_tensors(tensors, arch, stem, source)
    return Identity(arch, stem, widths)


def _blocks(tensors: Mapping[str, Tensor], stage: str) -> int:
    numbers = [int(m[1]) for n in tensors if (m := re.match(rf"{stage}\.(\d+)\.conv1\.weight", n))]
    return max(numbers, default=-1) + 1


def _refuse_relatives(tensors: Mapping[str, Tensor], source: str) -> None:
    """Networks with ResNet-like names that are something else, each called by its name."""
    fix = f"give a checkpoint of {', '.join(ARCHS)} (torchvision's or timm's plain form)."
    if "conv1.0.weight" in tensors:
        raise InputError(f"{source} has the deep stem of a ResNet-C/D (conv1.0)", fix)
    if any(".se." in n or ".attn." in n for n in tensors):
        raise InputError(f"{source} has attention blocks (SE-ResNet or similar)", fix)
    if "conv1.weight" not in tensors or "layer4.0.conv1.weight" not in tensors:
        first = ", ".join(list(tensors)[:3])
        raise InputError(f"{source} is not a ResNet: its tensors are {first} …", fix)
    if "fc.weight" not in tensors or "fc.bias" not in tensors:
        raise InputError(f"{source} has no classifier (fc.weight, fc.bias)", fix)
    kernel = tensors["conv1.weight"].shape[-1]
    if kernel not in (3, 7) or tensors["conv1.weight"].shape[1] != 3:
        shape = tuple(tensors["conv1.weight"].shape)
        raise InputError(f"{source} has a first convolution of shape {shape}", fix)
    inner = tensors.get("layer1.0.conv2.weight")
    if inner is not None and inner.shape[1] != tensors["layer1.0.conv1.weight"].shape[0]:
        raise InputError(f"{source} has grouped convolutions (ResNeXt or similar)", fix)


def _check_tensors(tensors: dict[str, Tensor], arch: str, stem: str, source: str) -> Widths:
    try:
        widths = Widths.of(tensors, arch)
    except KeyError as error:
        raise InputError(
            f"{source} lacks the tensor {error.args[0]}", "the file is incomplete: make it again."
        ) from error
    with torch.device("meta"):
        expected = build_resnet(arch, int(tensors["fc.weight"].shape[0]), stem, widths).state_dict()
    for name, like in expected.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.tensor(0))
        elif name not in tensors:
            raise InputError(
                f"{source} lacks the tensor {name}", "the file is incomplete: make it again."
            )
        elif tensors[name].shape != like.shape:
            raise InputError(
                f"{source}: {name} has shape {tuple(tensors[name].shape)}, and {arch} needs "
                f"{tuple(like.shape)}",
                "this is another architecture: give a plain ResNet's checkpoint.",
            )
        elif not torch.isfinite(tensors[name]).all():
            raise InputError(
                f"{source}: {name} has NaN or infinite values",
                "training diverged: give an earlier checkpoint.",
            )
        else:
            tensors[name] = tensors[name].float()
    for name in set(tensors) - set(expected):
        del tensors[name]
    return widths
