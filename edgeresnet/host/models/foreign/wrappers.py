"""State_dicts in the containers and under the prefixes of training frameworks.

Lightning keeps it as ``state_dict`` under ``model.`` or ``net.``, DDP writes ``module.`` before
each name and ``torch.compile`` ``_orig_mod.``; others have containers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from edgeresnet.errors import InputError

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema_state_dict", "weights")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.", "network.")


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
