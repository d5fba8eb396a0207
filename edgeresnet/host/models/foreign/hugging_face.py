"""Names of Hugging Face's ResNets (``ResNetForImageClassification``)."""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin

_BLOCK = r"encoder\.stages\.(\d+)\.layers\.(\d+)"


def _level(match: re.Match[str]) -> str:
    return f"layer{int(match[1]) + 1}.{match[2]}"


HUGGING_FACE = Origin(
    re.compile(
        rf"^(?P<prefix>(?:.*\.)?)encoder\.stages\.\d+\.layers\.\d+\.layer\.\d+\.convolution\.{WEIGHT}"
    ),
    (
        (re.compile(r"embedder\.embedder\.convolution\."), "conv1."),
        (re.compile(r"embedder\.embedder\.normalization\."), "bn1."),
        (
            re.compile(rf"{_BLOCK}\.layer\.(\d+)\.convolution\."),
            lambda m: f"{_level(m)}.conv{int(m[3]) + 1}.",
        ),
        (
            re.compile(rf"{_BLOCK}\.layer\.(\d+)\.normalization\."),
            lambda m: f"{_level(m)}.bn{int(m[3]) + 1}.",
        ),
        (re.compile(rf"{_BLOCK}\.shortcut\.convolution\."), lambda m: f"{_level(m)}.downsample.0."),
        (
            re.compile(rf"{_BLOCK}\.shortcut\.normalization\."),
            lambda m: f"{_level(m)}.downsample.1.",
        ),
    ),
)
