"""Where a file says that its bottlenecks have their stride."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.content import section
from edgeresnet.host.models.foreign.said import Said
from edgeresnet.settings.network import StrideIn

# Hugging Face's, Detectron2's, and the style of OpenMMLab's backbones.
_FLAGS = ("downsample_in_bottleneck", "stride_in_1x1")
_STYLES: dict[str, StrideIn] = {"caffe": "1x1", "pytorch": "3x3"}
# The same in the text of a configuration, which OpenMMLab and Detectron2 save as one.
_FLAG_TEXT = re.compile(
    rf"(?i)['\"]?\b({'|'.join(_FLAGS)})\b['\"]?\s*[:=]\s*(true|false)\b"
)  # fmt: skip
_STYLE_TEXT = re.compile(rf"\bstyle['\"]?\s*[:=]\s*['\"]({'|'.join(_STYLES)})['\"]")
_DEPTH = 6


def stride_said(said: Sequence[Said], source: str) -> tuple[StrideIn, str] | None:
    """Which convolution has the stride, and what says so; None if nothing does.

    Args:
        said: all that a file says and what lies beside it.
        source: the file's name, for messages.

    Raises:
        InputError: it says both.
    """
    found = {where: stride for one in said for where, stride in _within(one.name, one.value, 0)}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{where}: stride in the {stride}" for where, stride in found.items())
        raise InputError(
            f"{source} says two things of its bottlenecks' strides: {listed}",
            "say which is right: --stride-in 1x1, or --stride-in 3x3.",
        )
    return next(((stride, where) for where, stride in found.items()), None)


def _within(name: str, value: Any, depth: int) -> Iterator[tuple[str, StrideIn]]:
    key = re.split(r"[. ]", name)[-1].lower()
    if key in _FLAGS and isinstance(value, (bool, int)):
        yield name, "1x1" if value else "3x3"
    elif isinstance(value, str):
        if key == "style" and value in _STYLES:
            yield name, _STYLES[value]
        for flag in _FLAG_TEXT.finditer(value):
            yield f"{name} {flag[1]}", "1x1" if flag[2].lower() == "true" else "3x3"
        for style in _STYLE_TEXT.finditer(value):
            yield f"{name} style", _STYLES[style[1]]
    else:
        inner = section(value)
        if isinstance(inner, Mapping) and depth < _DEPTH:
            for part, own in inner.items():
                yield from _within(f"{name}.{part}", own, depth + 1)
