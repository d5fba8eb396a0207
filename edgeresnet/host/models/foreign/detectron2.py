"""Names of Detectron2's ResNets: res2 to res5, and each normalization inside its convolution."""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.rules import WEIGHT, Naming


def _level(match: re.Match[str]) -> str:
    return f"layer{int(match[1]) - 1}.{match[2]}"


_BLOCK = r"res([2-5])\.(\d+)"

DETECTRON2 = Naming(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)res[2-5]\.\d+\.conv\d\.{WEIGHT}"),
    (
        (re.compile(r"stem\.conv1\.norm\."), "bn1."),
        (re.compile(r"stem\.conv1\."), "conv1."),
        (re.compile(rf"{_BLOCK}\.conv(\d)\.norm\."), lambda m: f"{_level(m)}.bn{m[3]}."),
        (re.compile(rf"{_BLOCK}\.conv(\d)\."), lambda m: f"{_level(m)}.conv{m[3]}."),
        (re.compile(rf"{_BLOCK}\.shortcut\.norm\."), lambda m: f"{_level(m)}.downsample.1."),
        (re.compile(rf"{_BLOCK}\.shortcut\."), lambda m: f"{_level(m)}.downsample.0."),
    ),
)
