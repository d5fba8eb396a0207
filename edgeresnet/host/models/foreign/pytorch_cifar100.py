"""Names of the widely copied CIFAR-100 script: conv2_x to conv5_x, blocks as plain sequences."""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin


def _level(match: re.Match[str]) -> str:
    return f"layer{int(match[1]) - 1}.{match[2]}"


def _inside(match: re.Match[str]) -> str:
    """Convolution, normalization and activation take turns in the sequence."""
    layer, kind = divmod(int(match[3]), 3)
    return f"{_level(match)}.{('conv', 'bn', 'relu')[kind]}{layer + 1}."


_BLOCK = r"conv([2-5])_x\.(\d+)"

PYTORCH_CIFAR100 = Origin(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)conv[2-5]_x\.\d+\.residual_function\.[036]\.{WEIGHT}"),
    (
        (re.compile(r"conv1\.0\."), "conv1."),
        (re.compile(r"conv1\.1\."), "bn1."),
        (re.compile(rf"{_BLOCK}\.residual_function\.(\d)\."), _inside),
        (re.compile(rf"{_BLOCK}\.shortcut\.([01])\."), lambda m: f"{_level(m)}.downsample.{m[3]}."),
    ),
)
