"""Names of Detectron2's ResNets: res2 to res5, and each normalization inside its convolution.

Its defaults are those of facebookresearch/detectron2, ``detectron2/config/defaults.py``:
MODEL.PIXEL_MEAN and PIXEL_STD, INPUT.FORMAT and MODEL.RESNETS.STRIDE_IN_1X1.
"""

from __future__ import annotations

import re

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin


def _level(match: re.Match[str]) -> str:
    return f"layer{int(match[1]) - 1}.{match[2]}"


_BLOCK = r"res([2-5])\.(\d+)"

DETECTRON2 = Origin(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)res[2-5]\.\d+\.conv\d\.{WEIGHT}"),
    (
        (re.compile(r"stem\.conv1\.norm\."), "bn1."),
        (re.compile(r"stem\.conv1\."), "conv1."),
        (re.compile(rf"{_BLOCK}\.conv(\d)\.norm\."), lambda m: f"{_level(m)}.bn{m[3]}."),
        (re.compile(rf"{_BLOCK}\.conv(\d)\."), lambda m: f"{_level(m)}.conv{m[3]}."),
        (re.compile(rf"{_BLOCK}\.shortcut\.norm\."), lambda m: f"{_level(m)}.downsample.1."),
        (re.compile(rf"{_BLOCK}\.shortcut\."), lambda m: f"{_level(m)}.downsample.0."),
    ),
    defaults_of="Detectron2's configurations",
    stride_in="1x1",
    inputs={
        "channels": "bgr",
        "mean": (103.53 / 255, 116.28 / 255, 123.675 / 255),
        "std": (1 / 255,) * 3,
    },
)
