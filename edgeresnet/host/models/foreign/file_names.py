"""What a file's own name says of a network that has a plain ResNet's tensors and is none."""

from __future__ import annotations

import re
from pathlib import Path

from edgeresnet.errors import InputError

# Names that published networks have, and no data set.
_OTHERS = (
    (r"(resnet|resnext)blur\d+", "blurs where it has strides (anti-aliasing)"),
    (r"resnetaa\d+", "averages where it has strides (anti-aliasing)"),
    (r"resnet_?\d+_?(v\d\w?)?[_-]?(dilated|d8|os8|os16)(?![a-z0-9])", "dilates its last levels"),
    (r"(?<![a-z0-9])(deeplab|fcn)\w*[_-]resnet", "dilates its last levels"),
    (r"resnet_?\d+[_-](gelu|silu|swish|mish|elu|leaky_?relu|hardswish|relu6)(?![a-z0-9])",
     "has another activation than ReLU"),
)  # fmt: skip
# Words that may be the network's, and may as well be the data's.
_WORDS = (
    (r"blur|anti-?_?alias", "anti-aliasing"),
    (r"dilat|atrous", "dilation"),
    (r"(?<![a-z])(gelu|silu|swish|mish|leaky_?relu|hardswish|relu6)(?![a-z])",
     "another activation than ReLU"),
)  # fmt: skip
_CAFFE = re.compile(r"(?<![a-z])(caffe2?|msra)(?![a-z])")


def check_file_name(path: Path) -> list[str]:
    """Lines on words in the name that may be the network's.

    Raises:
        InputError: the file, or its folder, is called what no plain ResNet is.
    """
    for name in (path.name, path.absolute().parent.name):
        for pattern, what in _OTHERS:
            if found := re.search(pattern, name.lower()):
                raise InputError(
                    f"{path} is called {found[0]}: a network with a plain ResNet's tensors that "
                    f"{what}, which no tensor shows",
                    "give a plain ResNet's checkpoint; if this is one, rename it.",
                )
    return [
        f"its name has {found[0]}: if that is the network's ({what}), what is measured here is "
        "another network, for no tensor shows it"
        for pattern, what in _WORDS
        if (found := re.search(pattern, path.name.lower()))
    ]


def caffe_in_name(path: Path) -> str | None:
    """The word in a file's name by which its bottlenecks have their stride in the first 1x1."""
    found = _CAFFE.search(path.name.lower())
    return found[0] if found else None
