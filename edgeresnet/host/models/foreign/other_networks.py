"""Networks with a plain ResNet's tensors that only their own description tells from one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.said import Said, named
from edgeresnet.untrusted import short

# Names of networks with a plain ResNet's tensors that pool or dilate otherwise.
_UNSEEN = re.compile(r"(?i)blur|resnet\w*aa|anti_?alias|dilat|deeplab|(^|_)fcn")
# A head's own (softmax, sigmoid, linear) changes no answer's order.
_ACTIVATION = re.compile(
    r"(?i)silu|swish|gelu|elu$|elu\(|mish|leaky|prelu|rrelu|relu6|h(ard)?_?(swish|tanh|sigmoid)|"
    r"tanh|softplus|frelu"
)
_PLAIN_ACTIVATION = re.compile(r"(?i)(^|\.)relu(\(|$)")
_PLAIN_POOL = ("", "avg", "average", "mean", "gap", "fast", "avgpool", "adaptiveavgpool2d")
_USUAL_EPS = 1e-5
_SEVERAL = "a network of several labels at once"
_DILATED = "a network with dilated convolutions"


def _other_activation(value: Any) -> bool:
    name = str(value.get("type", "") if isinstance(value, Mapping) else value)
    return bool(_ACTIVATION.search(name)) and not _PLAIN_ACTIVATION.search(name)


def _other_pool(value: Any) -> bool:
    return isinstance(value, str) and value.lower().replace("_", "") not in _PLAIN_POOL


def _any_but(*plain: Any) -> Callable[[Any], bool]:
    """Whether a value, or one of several, is none of these."""
    return lambda value: any(
        one not in plain for one in (value if isinstance(value, (list, tuple)) else [value])
    )


def _other_eps(value: Any) -> bool:
    return isinstance(value, float) and abs(value - _USUAL_EPS) > _USUAL_EPS / 100


def _other_strides(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and tuple(value) not in ((1, 2, 2, 2), (2, 2, 2))


# Whether what is said is another network's, and which.
_OTHERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "hidden_act": (_other_activation, "another activation than ReLU"),
    "downsample_in_first_stage": (_any_but(False), "a stride in the first level"),
    "output_stride": (_any_but(32), _DILATED),
    "dilation": (_any_but(1, False), _DILATED),
    "replace_stride_with_dilation": (_any_but(False), _DILATED),
    "strides": (_other_strides, "a network with other strides"),
    "aa_layer": (_any_but(False, 0, ""), "a network with anti-aliasing"),
    "global_pool": (_other_pool, "another pooling than the mean"),
    "bn_eps": (_other_eps, "a normalization with another epsilon than 1e-5"),
    "problem_type": (_any_but("single_label_classification"), _SEVERAL),
    "multi_label": (_any_but(False, 0), _SEVERAL),
    "multilabel": (_any_but(False, 0), _SEVERAL),
}  # fmt: skip


def refuse_others(said: Sequence[Said], source: str) -> None:
    """Refuse what is said to be another network.

    Raises:
        InputError: says which key says so.
    """
    for one in named(said, ("arch", "architecture", "model_name", "model")):
        if isinstance(one.value, str) and _UNSEEN.search(one.value):
            raise InputError(
                f"{source} says {one.name}: {short(one.value)}, which blurs or dilates where no "
                "tensor shows it",
                "give a checkpoint of a plain ResNet.",
            )
    for key, (is_other, what) in _OTHERS.items():
        for one in named(said, (key,)):
            # An array is compared number by number, which has no one answer.
            value = one.value.tolist() if hasattr(one.value, "tolist") else one.value
            if is_other(value):
                raise InputError(
                    f"{source} says {one.name}: {short(value)}, which is {what}",
                    "give a checkpoint of a plain ResNet.",
                )
