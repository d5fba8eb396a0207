"""Names of the ResNets in keras.applications, converted: ``conv2_block1_1_conv.weight``.

Strides in the first 1x1 convolutions, convolutions with biases, and inputs as caffe made them: by
keras-team/keras, ``keras/src/applications/resnet.py`` (``residual_block_v1``) and
``imagenet_utils.py`` (mode "caffe").
"""

from __future__ import annotations

import re

from torch import Tensor

from edgeresnet.host.models.foreign.origin import WEIGHT, Origin

_EPSILON, _OURS = 1.001e-5, 1e-5


def _block(match: re.Match[str]) -> str:
    """``0`` is the skip connection's convolution, and the others count."""
    block, kind = f"layer{int(match[1]) - 1}.{int(match[2]) - 1}", match[4]
    if match[3] == "0":
        return f"{block}.downsample.{int(kind == 'bn')}."
    return f"{block}.{kind}{match[3]}."


def _convert(name: str, tensor: Tensor) -> Tensor:
    """The variance takes up what their epsilon is larger by."""
    if name.endswith("running_var") and tensor.is_floating_point():
        return (tensor.double() + (_EPSILON - _OURS)).float()
    return tensor


KERAS = Origin(
    re.compile(rf"^(?P<prefix>(?:.*\.)?)conv[2-5]_block\d+_[1-3]_conv\.{WEIGHT}"),
    (
        (re.compile(r"conv1_(conv|bn)\."), lambda m: f"{m[1]}1."),
        (re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)\."), _block),
    ),
    convert=_convert,
    defaults_of="keras.applications",
    stride_in="1x1",
    inputs={
        "channels": "bgr",
        "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255),
        "std": (1 / 255,) * 3,
    },
)
