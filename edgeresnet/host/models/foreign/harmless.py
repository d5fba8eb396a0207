"""Tensors without which a network answers the same, and what the others probably are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Beside the state_dict, in containers of a training: any shape.
_TRAINING = re.compile(
    r"(?i)^(optim|(lr_?)?sched|(grad_?)?scaler|amp\b|(\w+_)?rng|random|callback|loop|message_hub|"
    r"hyper_?param|hparam|histor|sampler|datamodule)"
)
# Of losses and metrics: counts, curves and class weights, which have at most one dimension;
# a loss's matrix may be the classifier itself (ArcFace), and is none of these.
_MEASURING = re.compile(
    r"(?i)(^|[._])(criterion|loss(_?fn|_?func)?|(train|val|valid|test|best)?_?"
    r"(metrics?|acc|accuracy|acc1|acc5|top1|top5|auroc|f1|f1_?score|precision|recall|confmat|"
    r"confusion_?matrix|ece))([._]|\d*$)"
)
_COUNTER = re.compile(
    r"(^|\.)(num_batches_tracked|n_averaged|num_updates|total_ops|total_params|global_step|step|"
    r"steps|epoch|epochs|iteration|iterations|counter|initted|decay)$"
)
_LIKELY = (
    (r"(^|[._])(mean|std|pixel_mean|pixel_std)$|normali[sz]e|input_?norm|(^|\.)(bn|norm)0\.",
     "a normalization of the input inside the network"),
    (r"(?i)(^|[._])(se|sse|cse|scse|ca|sa|eca|cbam|attn|att|attention|gates?|gc|psa|nonlocal|"
     r"non_local|se_module|channel_\w+|spatial_\w+|fc[12])([._]|\d*$)",
     "an attention module or a gate"),
    (r"(^|\.)conv1\.[036]\.", "the deep stem of a ResNet-C or -D"),
    (r"\.convs\.\d", "convolutions in parallel, as in a Res2Net"),
    (r"weight_[gv]$|parametrizations\.", "a reparametrized weight (weight normalization or alike)"),
    (r"weight_[uv]$|weight_orig$", "a reparametrized weight (spectral normalization or alike)"),
    (r"_mask$", "a pruning mask without its weight"),
    (r"lora", "an adapter (LoRA)"),
    (r"scale$|zero_point|fake_quant|observer|_packed_params", "quantization"),
    (r"pos_weight$", "the weights of a loss for several labels at once"),
    (r"(criterion|loss)", "a loss that has weights of its own (a classifier with a margin?)"),
    (r"teacher|student|momentum|(^|\.)queue", "a second network or its memory"),
    (r"(act|relu|prelu)\d*\.weight$", "an activation with parameters (PReLU)"),
    (r"running_(mean|var)$", "a further normalization"),
)  # fmt: skip


def is_harmless(name: str, tensor: Tensor, *, beside: bool) -> bool:
    """Whether a network answers the same without this tensor.

    Args:
        name: in the file.
        tensor: its values.
        beside: it stands beside the state_dict, and not in it.
    """
    if beside and (_TRAINING.search(name) or tensor.numel() == 1):
        return True
    if beside and re.search(r"(^|[._])(mean|std)$", name) and tensor.numel() == 3:
        return True  # read as the input's normalization
    if _COUNTER.search(name) and tensor.numel() == 1:
        return True
    if name.endswith("pos_weight") and tensor.numel() > 1:
        return False  # a network of several labels
    return tensor.ndim <= 1 and _MEASURING.search(name) is not None


def likely(unknown: Mapping[str, Tensor]) -> str:
    """What unknown tensors probably are, by the first that tells."""
    for name in unknown:
        for pattern, what in _LIKELY:
            if re.search(pattern, name):
                return what
    tensor = next(iter(unknown.values()))
    if tensor.ndim == 4:
        return "a further convolution"
    if tensor.ndim == 2:
        return "a further linear layer"
    return "which a plain ResNet does not have"
